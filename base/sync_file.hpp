// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <chrono>
#include <optional>

#include "error.hpp"
#include "unique_fd.hpp"

namespace stepscope {

/** How long a wait may last; none means without limit. */
using WaitLimit = std::optional<std::chrono::nanoseconds>;

/** Where a fence stands. `failed`: signalled, but the work behind it ended in an error. */
enum class FenceStatus { pending, signaled, failed };

/**
 * Owns a sync_file: a fence, or several merged ones, as a file descriptor. What it stands for never
 * changes; it goes from pending to signalled once. May be used by several threads at once.
 */
class SyncFile {
public:
    /** Takes the descriptor over. Fault::protocol if it is no sync_file; it is closed then. */
    static Result<SyncFile> adopt(UniqueFd fd);

    /** One that signals when both have. Both stay as they are. */
    static Result<SyncFile> merge(const SyncFile& first, const SyncFile& second);

    /** Borrowed. Readable (POLLIN) once signalled. */
    int fd() const { return fd_.get(); }
    /** Gives the descriptor up; the caller owns it. */
    [[nodiscard]] UniqueFd take() && { return std::move(fd_); }
    /** A second descriptor of the same fence. */
    Result<SyncFile> duplicate() const;

    /**
     * Blocks until it is signalled (true) or the limit is over (false). A limit of zero only looks.
     * A fence that failed counts as signalled; status() tells them apart.
     */
    Result<bool> wait(WaitLimit limit) const;

    Result<FenceStatus> status() const;

private:
    explicit SyncFile(UniqueFd fd) : fd_(std::move(fd)) {}
    UniqueFd fd_;
};

}  // namespace stepscope
