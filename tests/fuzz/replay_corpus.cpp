// SPDX-License-Identifier: LGPL-2.1-or-later
// Feeds the files of a folder, and every beginning of each, to a fuzz target without a fuzzer: what
// a fuzzer once found stays found with any compiler.
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int main(int argc, char** argv) {
    constexpr size_t kLongestBeginning = 4096;
    size_t files = 0;
    for (int i = 1; i < argc; ++i) {
        for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
            std::ifstream file(entry.path(), std::ios::binary);
            const std::string content(std::istreambuf_iterator<char>(file), {});
            // Seen even if it crashes.
            std::cout << entry.path().filename().string() << '\n' << std::flush;
            for (size_t size = 0; size < std::min(content.size(), kLongestBeginning); ++size) {
                // A copy of just that size, so that a sanitizer sees a read beyond it.
                const std::vector<uint8_t> beginning(
                    content.begin(), content.begin() + static_cast<std::ptrdiff_t>(size));
                LLVMFuzzerTestOneInput(beginning.data(), beginning.size());
            }
            LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(content.data()),
                                   content.size());
            ++files;
        }
    }
    std::cout << files << " files\n";
    return files > 0 ? 0 : 1;
}
