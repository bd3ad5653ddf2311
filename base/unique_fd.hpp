// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <utility>

namespace stepscope {

/** Owns one file descriptor and closes it. A plain int elsewhere is borrowed. */
class UniqueFd {
public:
    UniqueFd() = default;
    explicit UniqueFd(int fd) : fd_(fd) {}
    UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    UniqueFd& operator=(UniqueFd&& other) noexcept {
        if (this != &other) {
            reset(std::exchange(other.fd_, -1));
        }
        return *this;
    }
    UniqueFd(const UniqueFd&) = delete;
    UniqueFd& operator=(const UniqueFd&) = delete;
    ~UniqueFd() { reset(); }

    int get() const { return fd_; }
    explicit operator bool() const { return fd_ >= 0; }

    /** Gives the descriptor up; the caller closes it. */
    [[nodiscard]] int take() { return std::exchange(fd_, -1); }

    void reset(int fd = -1) {
        if (fd_ >= 0) {
            ::close(fd_);
        }
        fd_ = fd;
    }

    /** A second descriptor of the same file, close-on-exec; empty when the process has none left.
     */
    [[nodiscard]] UniqueFd duplicate() const { return duplicate(fd_); }
    [[nodiscard]] static UniqueFd duplicate(int fd) {
        return UniqueFd(fd < 0 ? -1 : ::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    }

private:
    int fd_ = -1;
};

}  // namespace stepscope
