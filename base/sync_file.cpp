// SPDX-License-Identifier: LGPL-2.1-or-later
#include "sync_file.hpp"

#include <linux/sync_file.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cstring>

#include "restarting_ioctl.hpp"

namespace stepscope {
namespace {

using Clock = std::chrono::steady_clock;

Result<sync_file_info> info_of(int fd) {
    // Without room for the fences the kernel fills in the summary only.
    sync_file_info info{};
    if (restarting_ioctl(fd, SYNC_IOC_FILE_INFO, &info) < 0) {
        if (errno == ENOTTY || errno == EINVAL) {
            return fail(Fault::protocol, "expected a sync_file, got another kind of file");
        }
        return fail_errno("can't look at the sync_file");
    }
    return info;
}

timespec to_timespec(std::chrono::nanoseconds time) {
    auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time);
    return {.tv_sec = static_cast<time_t>(seconds.count()),
            .tv_nsec = static_cast<long>((time - seconds).count())};
}

}  // namespace

Result<SyncFile> SyncFile::adopt(UniqueFd fd) {
    if (auto info = info_of(fd.get()); !info) {
        return std::unexpected(info.error());
    }
    return SyncFile(std::move(fd));
}

Result<SyncFile> SyncFile::merge(const SyncFile& first, const SyncFile& second) {
    sync_merge_data data{};
    std::strncpy(data.name, "stepscope", sizeof(data.name) - 1);
    data.fd2 = second.fd();
    if (restarting_ioctl(first.fd(), SYNC_IOC_MERGE, &data) < 0) {
        return fail_errno("can't merge two fences");
    }
    return SyncFile(UniqueFd(data.fence));
}

Result<SyncFile> SyncFile::duplicate() const {
    UniqueFd copy = fd_.duplicate();
    if (!copy) {
        return fail_errno("can't duplicate a fence");
    }
    return SyncFile(std::move(copy));
}

Result<bool> SyncFile::wait(WaitLimit limit) const {
    const auto started = Clock::now();
    while (true) {
        timespec left{};
        if (limit) {
            left = to_timespec(
                std::max(std::chrono::nanoseconds(0), *limit - (Clock::now() - started)));
        }
        pollfd poll{.fd = fd(), .events = POLLIN, .revents = 0};
        const int ready = ::ppoll(&poll, 1, limit ? &left : nullptr, nullptr);
        if (ready > 0) {
            if (poll.revents & POLLNVAL) {
                return fail_errno("can't wait for a fence", EBADF);
            }
            return true;
        }
        if (ready == 0) {
            return false;
        }
        if (errno != EINTR) {
            return fail_errno("can't wait for a fence");
        }
    }
}

Result<FenceStatus> SyncFile::status() const {
    auto info = info_of(fd());
    if (!info) {
        return std::unexpected(info.error());
    }
    if (info->status == 0) {
        return FenceStatus::pending;
    }
    return info->status > 0 ? FenceStatus::signaled : FenceStatus::failed;
}

}  // namespace stepscope
