// SPDX-License-Identifier: LGPL-2.1-or-later
#include "timeline.hpp"

#include <xf86drm.h>

#include <format>
#include <limits>

namespace stepscope {
namespace {

/** A syncobj that lives for one call: sync_files only go in and out of point 0. */
class TemporarySyncobj {
public:
    explicit TemporarySyncobj(int device) : device_(device) {
        failed_ = drmSyncobjCreate(device, 0, &handle_) != 0;
    }
    TemporarySyncobj(const TemporarySyncobj&) = delete;
    TemporarySyncobj& operator=(const TemporarySyncobj&) = delete;
    ~TemporarySyncobj() {
        if (!failed_) {
            drmSyncobjDestroy(device_, handle_);
        }
    }
    bool failed() const { return failed_; }
    uint32_t handle() const { return handle_; }

private:
    int device_;
    uint32_t handle_ = 0;
    bool failed_ = false;
};

/** A second descriptor of the device, on which timelines are known to work. */
Result<UniqueFd> device_with_timelines(int drm_fd) {
    if (!Timeline::supported(drm_fd)) {
        return fail(Fault::unsupported,
                    "this device has no timeline syncobjs; choose another render node");
    }
    UniqueFd device = UniqueFd::duplicate(drm_fd);
    if (!device) {
        return fail_errno("can't duplicate the DRM device");
    }
    return device;
}

/** The kernel's deadline: CLOCK_MONOTONIC, which std::chrono::steady_clock reads on Linux. */
int64_t deadline_of(WaitLimit limit) {
    constexpr int64_t never = std::numeric_limits<int64_t>::max();
    if (!limit) {
        return never;
    }
    if (limit->count() <= 0) {
        return 0;
    }
    const int64_t now = std::chrono::steady_clock::now().time_since_epoch().count();
    return limit->count() > never - now ? never : now + limit->count();
}

}  // namespace

bool Timeline::supported(int drm_fd) {
    uint64_t value = 0;
    return drmGetCap(drm_fd, DRM_CAP_SYNCOBJ_TIMELINE, &value) == 0 && value != 0;
}

Result<Timeline> Timeline::create(int drm_fd) {
    auto device = device_with_timelines(drm_fd);
    if (!device) {
        return std::unexpected(device.error());
    }
    uint32_t handle = 0;
    if (drmSyncobjCreate(device->get(), 0, &handle) != 0) {
        return fail_errno("can't create a timeline");
    }
    return Timeline(std::move(*device), handle);
}

Result<Timeline> Timeline::import(int drm_fd, int syncobj_fd) {
    auto device = device_with_timelines(drm_fd);
    if (!device) {
        return std::unexpected(device.error());
    }
    uint32_t handle = 0;
    if (drmSyncobjFDToHandle(device->get(), syncobj_fd, &handle) != 0) {
        if (errno == EINVAL || errno == EBADF) {
            return fail(Fault::protocol, "expected a syncobj, got another kind of file");
        }
        return fail_errno("can't import a timeline");
    }
    return Timeline(std::move(*device), handle);
}

Timeline::Timeline(Timeline&& other) noexcept
    : device_(std::move(other.device_)), handle_(std::exchange(other.handle_, 0)) {}

Timeline& Timeline::operator=(Timeline&& other) noexcept {
    if (this != &other) {
        destroy();
        device_ = std::move(other.device_);
        handle_ = std::exchange(other.handle_, 0);
    }
    return *this;
}

Timeline::~Timeline() {
    destroy();
}

void Timeline::destroy() {
    if (handle_ != 0) {
        drmSyncobjDestroy(device_.get(), handle_);
        handle_ = 0;
    }
}

Result<UniqueFd> Timeline::export_fd() const {
    int fd = -1;
    if (drmSyncobjHandleToFD(device_.get(), handle_, &fd) != 0) {
        return fail_errno("can't export a timeline");
    }
    return UniqueFd(fd);
}

Result<uint64_t> Timeline::last_signaled() const {
    uint32_t handle = handle_;
    uint64_t point = 0;
    if (drmSyncobjQuery(device_.get(), &handle, &point, 1) != 0) {
        return fail_errno("can't read a timeline");
    }
    return point;
}

Result<void> Timeline::signal(uint64_t point) const {
    if (drmSyncobjTimelineSignal(device_.get(), &handle_, &point, 1) != 0) {
        return fail_errno(std::format("can't signal point {}", point));
    }
    return {};
}

Result<bool> Timeline::wait(uint64_t point, Until until, WaitLimit limit) const {
    uint32_t handle = handle_;
    uint32_t flags = DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT;
    if (until == Until::available) {
        flags |= DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE;
    }
    // Interruptions are libdrm's business: it repeats the call, and the deadline is absolute.
    const int status = drmSyncobjTimelineWait(device_.get(), &handle, &point, 1, deadline_of(limit),
                                              flags, nullptr);
    if (status == 0) {
        return true;
    }
    if (status == -ETIME) {
        return false;
    }
    return fail_errno(std::format("can't wait for point {}", point), -status);
}

Result<void> Timeline::notify(uint64_t point, Until until, int eventfd) const {
    const uint32_t flags = until == Until::available ? DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE : 0;
    if (drmSyncobjEventfd(device_.get(), handle_, point, eventfd, flags) != 0) {
        if (errno == ENOTTY || errno == EOPNOTSUPP) {
            return fail(Fault::unsupported,
                        "this kernel can't report a point; Linux 6.6 or newer is needed");
        }
        return fail_errno(std::format("can't ask to be told of point {}", point));
    }
    return {};
}

Result<SyncFile> Timeline::export_point(uint64_t point) const {
    auto available = wait(point, Until::available, std::chrono::nanoseconds(0));
    if (!available) {
        return std::unexpected(available.error());
    }
    if (!*available) {
        return fail(Fault::not_found, std::format("point {} has no fence yet", point));
    }
    TemporarySyncobj temporary(device_.get());
    int fd = -1;
    if (temporary.failed() ||
        drmSyncobjTransfer(device_.get(), temporary.handle(), 0, handle_, point, 0) != 0 ||
        drmSyncobjExportSyncFile(device_.get(), temporary.handle(), &fd) != 0) {
        return fail_errno(std::format("can't take the fence of point {}", point));
    }
    return SyncFile::adopt(UniqueFd(fd));
}

Result<void> Timeline::import_point(uint64_t point, const SyncFile& fence) const {
    TemporarySyncobj temporary(device_.get());
    if (temporary.failed() ||
        drmSyncobjImportSyncFile(device_.get(), temporary.handle(), fence.fd()) != 0 ||
        drmSyncobjTransfer(device_.get(), handle_, point, temporary.handle(), 0, 0) != 0) {
        return fail_errno(std::format("can't put a fence at point {}", point));
    }
    return {};
}

}  // namespace stepscope
