// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <list>
#include <memory>
#include <optional>
#include <string>

#include "base/refresh_rate.hpp"
#include "wayland_connection.hpp"
#include "wl_ptr.hpp"

namespace stepscope {

/** An output of another compositor. */
struct DisplayOutput {
    uint32_t global = 0;
    std::string name;  // "HDMI-A-1"
    RefreshRate refresh{0, 1};
    bool gone = false;
    WlPtr<wl_output> object;
};

/**
 * A connection to any Wayland compositor, with those of its globals that capturing needs. Of the
 * thread that dispatches, but for `connection`, which says for itself.
 */
class DisplayConnection {
public:
    /**
     * `display` is a socket's name in XDG_RUNTIME_DIR, or its path. Waits until the outputs are
     * known, at most for `timeout`. An error where the compositor can't be captured.
     */
    static Result<std::unique_ptr<DisplayConnection>> connect(const std::string& display,
                                                              std::chrono::milliseconds timeout);
    DisplayConnection(const DisplayConnection&) = delete;
    DisplayConnection& operator=(const DisplayConnection&) = delete;

    WaylandConnection& connection() { return *connection_; }
    const WaylandConnection& connection() const { return *connection_; }

    /**
     * The output of that name; an empty name is the only one. Where there is none the error lists
     * those that are. It stays valid, and tells when it is gone.
     */
    Result<const DisplayOutput*> find_output(const std::string& name) const;

    /** May be null where the compositor has none; they belong to this object. */
    wl_shm* shm() const { return shm_.get(); }
    zwp_linux_dmabuf_v1* dmabuf() const { return dmabuf_.get(); }
    /** dev_t of the device that the compositor draws with; none where it does not tell. */
    std::optional<uint64_t> main_device() const { return main_device_; }
    ext_output_image_capture_source_manager_v1* ext_sources() const { return ext_sources_.get(); }
    ext_image_copy_capture_manager_v1* ext_captures() const { return ext_captures_.get(); }
    zwlr_screencopy_manager_v1* wlr_screencopy() const { return wlr_screencopy_.get(); }
    bool has_ext() const { return ext_sources_ && ext_captures_; }

private:
    struct Listeners;
    explicit DisplayConnection(std::unique_ptr<WaylandConnection> connection)
        : connection_(std::move(connection)) {}

    // First, so that it is destroyed last.
    const std::unique_ptr<WaylandConnection> connection_;
    WlPtr<wl_registry> registry_;
    WlPtr<wl_shm> shm_;
    WlPtr<zwp_linux_dmabuf_v1> dmabuf_;
    WlPtr<ext_output_image_capture_source_manager_v1> ext_sources_;
    WlPtr<ext_image_copy_capture_manager_v1> ext_captures_;
    WlPtr<zwlr_screencopy_manager_v1> wlr_screencopy_;
    WlPtr<zwp_linux_dmabuf_feedback_v1> feedback_;  // while connecting
    std::optional<uint64_t> main_device_;
    std::list<DisplayOutput> outputs_;
};

}  // namespace stepscope
