// SPDX-License-Identifier: LGPL-2.1-or-later
#include "wayland_window.hpp"

#include <climits>
#include <nlohmann/json.hpp>
#include <utility>

#include "painter.hpp"

namespace stepscope::testgame {

WaylandBuffer::WaylandBuffer(const WaylandGlobals& globals, ShmImage image, uint32_t format,
                             Game* game)
    : image_(std::move(image)), game_(game) {
    const ShmMemory& memory = *image_.memory;
    const WlPtr<wl_shm_pool> pool(
        wl_shm_create_pool(globals.shm.get(), memory.fd(), static_cast<int32_t>(memory.size())));
    buffer_.reset(wl_shm_pool_create_buffer(pool.get(), static_cast<int32_t>(image_.offset),
                                            image_.width, image_.height, image_.stride(), format));
    static const wl_buffer_listener listener = {
        .release =
            [](void* data, wl_buffer*) {
                auto& self = *static_cast<WaylandBuffer*>(data);
                if (self.game_ != nullptr && self.busy_since_) {
                    self.game_->buffer_released(Clock::now() - *self.busy_since_);
                }
                self.busy_since_.reset();
            },
    };
    wl_buffer_add_listener(buffer_.get(), &listener, this);
}

void WaylandBuffer::attach(wl_surface* surface) {
    wl_surface_attach(surface, buffer_.get(), 0, 0);
    busy_since_ = Clock::now();
}

const xdg_surface_listener WaylandWindow::kSurfaceListener = {
    .configure =
        [](void* data, xdg_surface*, uint32_t serial) {
            static_cast<WaylandWindow*>(data)->handle_configure(serial);
        },
};

const xdg_toplevel_listener WaylandWindow::kToplevelListener = {
    .configure =
        [](void* data, xdg_toplevel*, int32_t width, int32_t height, wl_array* states) {
            auto& self = *static_cast<WaylandWindow*>(data);
            self.pending_width_ = width;
            self.pending_height_ = height;
            self.pending_fullscreen_ = false;
            self.pending_activated_ = false;
            const auto* state = static_cast<const uint32_t*>(states->data);
            for (size_t i = 0; i < states->size / sizeof(*state); ++i) {
                self.pending_fullscreen_ |= state[i] == XDG_TOPLEVEL_STATE_FULLSCREEN;
                self.pending_activated_ |= state[i] == XDG_TOPLEVEL_STATE_ACTIVATED;
            }
        },
    .close =
        [](void* data, xdg_toplevel*) {
            auto& self = *static_cast<WaylandWindow*>(data);
            self.game_.report().write("close");
            self.game_.finish();
        },
    .configure_bounds = [](void*, xdg_toplevel*, int32_t, int32_t) {},
    .wm_capabilities = [](void*, xdg_toplevel*, wl_array*) {},
};

const wl_callback_listener WaylandWindow::kFrameListener = {
    .done =
        [](void* data, wl_callback*, uint32_t milliseconds) {
            auto& self = *static_cast<WaylandWindow*>(data);
            self.frame_callback_.reset();
            if (self.game_.report().enabled()) {
                self.game_.report().write("frame_callback", {{"time_ms", milliseconds}});
            }
            self.game_.vsync();
        },
};

const wp_presentation_feedback_listener WaylandWindow::kFeedbackListener = {
    .sync_output = [](void*, PresentationFeedback*, wl_output*) {},
    .presented =
        [](void* data, PresentationFeedback* handle, uint32_t seconds_high, uint32_t seconds_low,
           uint32_t nanoseconds, uint32_t refresh, uint32_t sequence_high, uint32_t sequence_low,
           uint32_t flags) {
            auto& self = *static_cast<WaylandWindow*>(data);
            const uint64_t seconds = (uint64_t{seconds_high} << 32) | seconds_low;
            self.game_.report().write("presented",
                                      {{"number", self.feedbacks_.at(handle).number},
                                       {"presented_ns", seconds * 1'000'000'000 + nanoseconds},
                                       {"refresh_ns", refresh},
                                       {"sequence", (uint64_t{sequence_high} << 32) | sequence_low},
                                       {"flags", flags}});
            self.feedbacks_.erase(handle);
        },
    .discarded =
        [](void* data, PresentationFeedback* handle) {
            auto& self = *static_cast<WaylandWindow*>(data);
            self.game_.report().write("discarded", {{"number", self.feedbacks_.at(handle).number}});
            self.feedbacks_.erase(handle);
        },
};

WaylandWindow::WaylandWindow(const WaylandGlobals& globals, Game& game)
    : globals_(globals),
      game_(game),
      width_(game.options().width),
      height_(game.options().height),
      surface_(wl_compositor_create_surface(globals.compositor.get())),
      shell_surface_(xdg_wm_base_get_xdg_surface(globals.wm_base.get(), surface_.get())),
      toplevel_(xdg_surface_get_toplevel(shell_surface_.get())) {
    const Options& options = game.options();
    xdg_surface_add_listener(shell_surface_.get(), &kSurfaceListener, this);
    xdg_toplevel_add_listener(toplevel_.get(), &kToplevelListener, this);
    xdg_toplevel_set_title(toplevel_.get(), options.title.c_str());
    xdg_toplevel_set_app_id(toplevel_.get(), options.app_id.c_str());
    if (options.fixed_size) {
        xdg_toplevel_set_min_size(toplevel_.get(), width_, height_);
        xdg_toplevel_set_max_size(toplevel_.get(), width_, height_);
    }
    if (options.fullscreen) {
        xdg_toplevel_set_fullscreen(toplevel_.get(), nullptr);
    }
    wl_surface_commit(surface_.get());
}

void WaylandWindow::handle_configure(uint32_t serial) {
    xdg_surface_ack_configure(shell_surface_.get(), serial);
    configured_ = true;
    game_.report().write("configure", {{"width", pending_width_},
                                       {"height", pending_height_},
                                       {"fullscreen", pending_fullscreen_},
                                       {"activated", pending_activated_}});
    if (game_.options().fixed_size || pending_width_ <= 0 || pending_height_ <= 0) {
        return;
    }
    resized_ |= pending_width_ != width_ || pending_height_ != height_;
    width_ = pending_width_;
    height_ = pending_height_;
}

Result<void> WaylandWindow::make_buffers() {
    const Options& options = game_.options();
    auto images =
        create_images(options.buffers, width_, height_, options.sealable, options.shared_pool);
    if (!images) {
        return std::unexpected(images.error());
    }
    // What the compositor still shows of the old size stays intact: its memory is not used again.
    buffers_.clear();
    for (ShmImage& image : *images) {
        buffers_.push_back(std::make_unique<WaylandBuffer>(
            globals_, std::move(image),
            options.argb ? WL_SHM_FORMAT_ARGB8888 : WL_SHM_FORMAT_XRGB8888, &game_));
        if (options.paint == Paint::stripe) {
            paint_solid(buffers_.back()->pixels(), 0);
        }
    }
    resized_ = false;
    return {};
}

void WaylandWindow::request_frame_callback() {
    frame_callback_.reset(wl_surface_frame(surface_.get()));
    wl_callback_add_listener(frame_callback_.get(), &kFrameListener, this);
}

void WaylandWindow::request_feedback(uint32_t number) {
    WlPtr<PresentationFeedback> handle(
        wp_presentation_feedback(globals_.presentation.get(), surface_.get()));
    wp_presentation_feedback_add_listener(handle.get(), &kFeedbackListener, this);
    auto* key = handle.get();
    feedbacks_.emplace(key, Feedback{std::move(handle), number});
}

Result<void> WaylandWindow::draw() {
    if (graphics_) {
        return graphics_->draw(game_, width_, height_);
    }
    if (resized_) {
        if (auto made = make_buffers(); !made) {
            return made;
        }
    }
    for (const auto& buffer : buffers_) {
        if (buffer->busy()) {
            continue;
        }
        const uint32_t number = game_.paint_next(buffer->pixels());
        buffer->attach(surface_.get());
        if (game_.options().paint == Paint::full) {
            wl_surface_damage_buffer(surface_.get(), 0, 0, INT32_MAX, INT32_MAX);
        } else {
            wl_surface_damage_buffer(surface_.get(), 0, 0, frame_code::kWidth,
                                     frame_code::kBlockHeight);
        }
        if (!frame_callback_ && (game_.options().vsync || game_.report().enabled())) {
            request_frame_callback();
        }
        if (globals_.presentation && game_.report().enabled()) {
            request_feedback(number);
        }
        game_.frame_shown();
        wl_surface_commit(surface_.get());
        return {};
    }
    game_.starve();
    return {};
}

}  // namespace stepscope::testgame
