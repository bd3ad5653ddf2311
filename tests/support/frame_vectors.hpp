// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstddef>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace stepscope::testing {

/** One packet of tests/data/frame-socket-v1.txt. */
struct FrameVector {
    std::string kind;  // good, tolerated, malformed
    std::string name;
    std::string sender;  // consumer, producer, either
    size_t fds = 0;
    std::vector<std::string> texts;
    std::vector<std::byte> bytes;
};

inline std::vector<FrameVector> read_frame_vectors(const std::string& path) {
    std::vector<FrameVector> vectors;
    std::ifstream file(path);
    FrameVector current;
    for (std::string line; std::getline(file, line);) {
        std::istringstream words(line);
        std::string key;
        words >> key;
        std::string rest = line.size() > key.size() ? line.substr(key.size() + 1) : "";
        if (key == "good" || key == "tolerated" || key == "malformed") {
            current = {.kind = key, .name = rest};
        } else if (key == "from") {
            current.sender = rest;
        } else if (key == "fds") {
            current.fds = std::stoul(rest);
        } else if (key == "text") {
            current.texts.push_back(rest);
        } else if (key == "bytes") {
            for (size_t at = 0; at + 1 < rest.size(); at += 2) {
                current.bytes.push_back(
                    static_cast<std::byte>(std::stoul(rest.substr(at, 2), nullptr, 16)));
            }
        } else if (key == "end") {
            vectors.push_back(current);
        }
    }
    return vectors;
}

}  // namespace stepscope::testing
