// SPDX-License-Identifier: LGPL-2.1-or-later
#include "display_connection.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <format>
#include <vector>

#include "base/unix_socket.hpp"

namespace stepscope {
namespace {

/** Since this version outputs have names. */
constexpr uint32_t kOutputVersion = 4;
/** Since this version compositors tell their device. */
constexpr uint32_t kDmabufVersion = 4;

std::string join(std::vector<std::string> names) {
    std::ranges::sort(names);
    std::string text;
    for (const std::string& name : names) {
        text += (text.empty() ? "" : ", ") + name;
    }
    return text;
}

/** Sockets in a runtime directory that look like those of compositors. */
std::string displays_in(const std::string& directory) {
    std::vector<std::string> names;
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(directory, ignored)) {
        std::string name = entry.path().filename();
        if (name.starts_with("wayland-") && entry.is_socket(ignored)) {
            names.push_back(std::move(name));
        }
    }
    return names.empty() ? "no display is there" : "there are: " + join(std::move(names));
}

Result<UniqueFd> connect_display(const std::string& display) {
    if (display.find('/') != std::string::npos) {
        return connect_unix(display);
    }
    const char* directory = std::getenv("XDG_RUNTIME_DIR");
    if (directory == nullptr || *directory == '\0') {
        return fail(Fault::usage, std::format("display '{}' is looked for in XDG_RUNTIME_DIR, "
                                              "which is not set; set it, or give the socket's path",
                                              display));
    }
    auto socket = connect_unix(std::string(directory) + "/" + display);
    if (!socket) {
        Error error = socket.error();
        error.message += std::format("; {}", displays_in(directory));
        return std::unexpected(std::move(error));
    }
    return socket;
}

}  // namespace

struct DisplayConnection::Listeners {
    static DisplayConnection& self(void* data) { return *static_cast<DisplayConnection*>(data); }
    static DisplayOutput& output_of(void* data) { return *static_cast<DisplayOutput*>(data); }

    // Each global, at the start and when one appears.
    static void global(void* data, wl_registry* registry, uint32_t id, const char* interface,
                       uint32_t version) {
        DisplayConnection& display = self(data);
        auto bind = [&](auto& object, const wl_interface& type, uint32_t wanted) {
            if (!object && std::strcmp(interface, type.name) == 0) {
                object.reset(static_cast<std::remove_reference_t<decltype(object)>::pointer>(
                    wl_registry_bind(registry, id, &type, std::min(version, wanted))));
            }
        };
        bind(display.shm_, wl_shm_interface, 1);
        bind(display.dmabuf_, zwp_linux_dmabuf_v1_interface, kDmabufVersion);
        bind(display.ext_sources_, ext_output_image_capture_source_manager_v1_interface, 1);
        bind(display.ext_captures_, ext_image_copy_capture_manager_v1_interface, 1);
        bind(display.wlr_screencopy_, zwlr_screencopy_manager_v1_interface, 3);
        if (std::strcmp(interface, wl_output_interface.name) == 0 && version >= kOutputVersion) {
            DisplayOutput& output = display.outputs_.emplace_back();
            output.global = id;
            output.object.reset(static_cast<wl_output*>(
                wl_registry_bind(registry, id, &wl_output_interface, kOutputVersion)));
            wl_output_add_listener(output.object.get(), &Listeners::output, &output);
        }
    }
    static void global_remove(void* data, wl_registry*, uint32_t id) {
        for (DisplayOutput& output : self(data).outputs_) {
            output.gone |= output.global == id;
        }
    }

    // Of all the feedback only the device: captures name their formats themselves.
    static void feedback_done(void*, zwp_linux_dmabuf_feedback_v1*) {}
    static void format_table(void*, zwp_linux_dmabuf_feedback_v1*, int32_t fd, uint32_t) {
        UniqueFd closed(fd);
    }
    static void main_device(void* data, zwp_linux_dmabuf_feedback_v1*, wl_array* device) {
        uint64_t number = 0;
        if (device->size <= sizeof(number)) {
            std::memcpy(&number, device->data, device->size);
            self(data).main_device_ = number;
        }
    }
    static void tranche_done(void*, zwp_linux_dmabuf_feedback_v1*) {}
    static void tranche_array(void*, zwp_linux_dmabuf_feedback_v1*, wl_array*) {}
    static void tranche_flags(void*, zwp_linux_dmabuf_feedback_v1*, uint32_t) {}

    static void geometry(void*, wl_output*, int32_t, int32_t, int32_t, int32_t, int32_t,
                         const char*, const char*, int32_t) {}
    static void mode(void* data, wl_output*, uint32_t flags, int32_t, int32_t, int32_t refresh) {
        const RefreshRate rate{static_cast<uint32_t>(std::max(refresh, 0)), 1000};
        if ((flags & WL_OUTPUT_MODE_CURRENT) != 0) {
            output_of(data).refresh =
                refresh > 0 && valid_refresh_rate(rate) ? rate : RefreshRate{0, 1};
        }
    }
    static void done(void*, wl_output*) {}
    static void scale(void*, wl_output*, int32_t) {}
    static void name(void* data, wl_output*, const char* name) { output_of(data).name = name; }
    static void description(void*, wl_output*, const char*) {}

    static constexpr wl_registry_listener registry{global, global_remove};
    static constexpr zwp_linux_dmabuf_feedback_v1_listener feedback{
        feedback_done, format_table,  main_device,  tranche_done,
        tranche_array, tranche_array, tranche_flags};
    static constexpr wl_output_listener output{geometry, mode, done, scale, name, description};
};

Result<std::unique_ptr<DisplayConnection>> DisplayConnection::connect(
    const std::string& name, std::chrono::milliseconds timeout) {
    auto socket = connect_display(name);
    if (!socket) {
        return std::unexpected(socket.error());
    }
    auto connection =
        WaylandConnection::create(std::move(*socket), std::format("display '{}'", name));
    if (!connection) {
        return std::unexpected(connection.error());
    }
    std::unique_ptr<DisplayConnection> display(new DisplayConnection(std::move(*connection)));
    display->registry_.reset(display->connection_->get_registry());
    wl_registry_add_listener(display->registry_.get(), &Listeners::registry, display.get());
    // The first brings the globals, the second what they say of themselves.
    if (auto known = display->connection_->roundtrip(timeout); !known) {
        return std::unexpected(known.error());
    }
    zwp_linux_dmabuf_v1* dmabuf = display->dmabuf();
    if (dmabuf != nullptr && zwp_linux_dmabuf_v1_get_version(dmabuf) >= kDmabufVersion) {
        display->feedback_.reset(zwp_linux_dmabuf_v1_get_default_feedback(dmabuf));
        zwp_linux_dmabuf_feedback_v1_add_listener(display->feedback_.get(), &Listeners::feedback,
                                                  display.get());
    }
    if (auto known = display->connection_->roundtrip(timeout); !known) {
        return std::unexpected(known.error());
    }
    display->feedback_.reset();
    if (!display->has_ext() && !display->wlr_screencopy_) {
        return fail(Fault::unsupported,
                    std::format("the compositor of display '{}' can't be captured: it offers "
                                "neither ext-image-copy-capture-v1 nor wlr-screencopy-unstable-v1; "
                                "if its desktop has a portal, use pipewiresrc",
                                name));
    }
    return display;
}

Result<const DisplayOutput*> DisplayConnection::find_output(const std::string& name) const {
    std::vector<std::string> names;
    const DisplayOutput* only = nullptr;
    for (const DisplayOutput& output : outputs_) {
        if (output.gone) {
            continue;
        }
        if (!name.empty() && output.name == name) {
            return &output;
        }
        names.push_back(output.name);
        only = &output;
    }
    if (names.empty()) {
        return fail(Fault::not_found, std::format("{} has no output", connection_->peer()));
    }
    if (name.empty() && names.size() == 1) {
        return only;
    }
    return fail(name.empty() ? Fault::usage : Fault::not_found,
                std::format("{} has {}; it has: {}; choose one with output=", connection_->peer(),
                            name.empty() ? "several outputs" : std::format("no output '{}'", name),
                            join(std::move(names))));
}

}  // namespace stepscope
