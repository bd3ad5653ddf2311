// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/error.hpp"
#include "base/unique_fd.hpp"
#include "tests/game/frame_code.hpp"

namespace stepscope::testgame {

/** A memfd and its mapping; both end with the object. */
class ShmMemory {
public:
    /** `sealable` allows seals to be added; none are set. */
    static Result<std::shared_ptr<ShmMemory>> create(size_t size, bool sealable);
    ShmMemory(const ShmMemory&) = delete;
    ShmMemory& operator=(const ShmMemory&) = delete;
    ~ShmMemory();

    int fd() const { return fd_.get(); }
    uint8_t* data() const { return data_; }
    size_t size() const { return size_; }

private:
    ShmMemory(UniqueFd fd, uint8_t* data, size_t size);

    UniqueFd fd_;
    uint8_t* data_;
    size_t size_;
};

/** Where one picture lies in memory that others may share. */
struct ShmImage {
    std::shared_ptr<ShmMemory> memory;
    size_t offset = 0;
    int width = 0;
    int height = 0;

    int stride() const { return width * 4; }
    frame_code::Pixels pixels() const {
        return {memory->data() + offset, width, height, static_cast<size_t>(stride())};
    }
};

/** `count` pictures, each in a file of its own, or all in one. */
Result<std::vector<ShmImage>> create_images(unsigned count, int width, int height, bool sealable,
                                            bool shared);

}  // namespace stepscope::testgame
