// SPDX-License-Identifier: LGPL-2.1-or-later
// A Wayland client that shows DMA-BUFs before it has drawn them, as games on a GPU do, with
// implicit or explicit sync. Spoils each buffer as soon as it gets it back. Reports what it did as
// lines of JSON; see tests/kernel.
#include <drm_fourcc.h>
#include <poll.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "dmabuf_feedback.hpp"
#include "fence_buffer.hpp"
#include "linux-dmabuf-v1-client-protocol.h"
#include "linux-drm-syncobj-v1-client-protocol.h"
#include "painter.hpp"
#include "picture_memory.hpp"
#include "report.hpp"
#include "xdg-shell-client-protocol.h"

namespace stepscope::testgame {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

struct FenceOptions {
    int width = 320;
    int height = 240;
    unsigned buffers = 4;
    MemorySource memory = MemorySource::udmabuf;
    std::string gbm_device;  // empty: any that can
    PictureLayout layout = PictureLayout::packed;
    bool explicit_sync = false;
    bool feedback = false;
    bool resizable = false;
    double rate = 60;
    unsigned late_ms = 0;
    uint64_t frames = 0;  // 0: no end
    std::string report;
};

void swap_red_and_blue(const frame_code::Pixels& image) {
    for (int y = 0; y < image.height; ++y) {
        uint8_t* pixel = image.row(y);
        for (int x = 0; x < image.width; ++x, pixel += 4) {
            std::swap(pixel[0], pixel[2]);
        }
    }
}

uint32_t format_of(PictureLayout layout) {
    switch (layout) {
        case PictureLayout::packed:
            break;
        case PictureLayout::nv12:
        case PictureLayout::nv12_two_files:
            return DRM_FORMAT_NV12;
        case PictureLayout::p010:
            return DRM_FORMAT_P010;
        case PictureLayout::ten_bit:
            return DRM_FORMAT_XRGB2101010;
        case PictureLayout::half_float:
            return DRM_FORMAT_XBGR16161616F;
    }
    return DRM_FORMAT_XRGB8888;
}

void paint(const FenceBuffer& buffer, uint32_t number) {
    if (buffer.layout() != PictureLayout::packed) {
        nv12_frame::paint(buffer.plane(0), buffer.plane(1), number);
        return;
    }
    paint_frame(buffer.pixels(), Paint::full, number, 0);
    if (buffer.format() == DRM_FORMAT_XBGR8888) {
        swap_red_and_blue(buffer.pixels());
    }
}

/** A buffer that was shown and has to be drawn. */
struct Drawing {
    FenceBuffer* buffer;
    uint32_t number;
    Clock::time_point due;
};

class FenceGame {
public:
    FenceGame(const FenceOptions& options, FenceDevices devices, PictureMemory memory,
              Report report)
        : options_(options),
          devices_(std::move(devices)),
          memory_(std::move(memory)),
          report_(std::move(report)),
          width_(options.width),
          height_(options.height) {
        format_ = format_of(options.layout);
    }
    Result<void> run();

private:
    Result<void> connect();
    Result<void> make_buffers();
    Result<void> follow_feedback();
    Result<void> follow_size();
    Result<void> replace_buffers();
    void report_feedback();
    Result<void> show();
    Result<void> draw_due();
    Result<void> wait();
    void check_releases();
    void check_old();
    FenceBuffer* find_free();

    static const wl_registry_listener kRegistry;
    static const xdg_wm_base_listener kWmBase;
    static const xdg_surface_listener kXdgSurface;
    static const xdg_toplevel_listener kToplevel;

    const FenceOptions& options_;
    FenceDevices devices_;
    PictureMemory memory_;
    Report report_;
    // Proxies live as long as the process.
    wl_display* display_ = nullptr;
    wl_compositor* compositor_ = nullptr;
    xdg_wm_base* wm_base_ = nullptr;
    zwp_linux_dmabuf_v1* dmabuf_ = nullptr;
    wp_linux_drm_syncobj_manager_v1* syncobj_ = nullptr;
    wl_surface* surface_ = nullptr;
    wp_linux_drm_syncobj_surface_v1* sync_surface_ = nullptr;
    int width_;
    int height_;
    int wanted_width_ = 0;  // by the compositor; 0: whatever
    int wanted_height_ = 0;
    bool configured_ = false;
    bool closed_ = false;
    std::unique_ptr<DmabufFeedback> feedback_;
    uint32_t format_ = DRM_FORMAT_XRGB8888;
    std::vector<std::unique_ptr<FenceBuffer>> buffers_;
    /** Of another format or size; they live on until the compositor gives them back. */
    std::vector<std::unique_ptr<FenceBuffer>> old_buffers_;
    std::vector<Drawing> drawings_;  // in the order of their time
    Clock::time_point next_frame_;
    uint32_t shown_ = 0;
};

const wl_registry_listener FenceGame::kRegistry{
    .global =
        [](void* data, wl_registry* registry, uint32_t name, const char* interface, uint32_t) {
            auto& self = *static_cast<FenceGame*>(data);
            auto bind = [&](auto*& target, const wl_interface& known, uint32_t version) {
                if (std::strcmp(interface, known.name) == 0) {
                    target = static_cast<std::remove_reference_t<decltype(target)>>(
                        wl_registry_bind(registry, name, &known, version));
                }
            };
            bind(self.compositor_, wl_compositor_interface, 4);
            bind(self.wm_base_, xdg_wm_base_interface, 1);
            bind(self.dmabuf_, zwp_linux_dmabuf_v1_interface, self.options_.feedback ? 4 : 3);
            bind(self.syncobj_, wp_linux_drm_syncobj_manager_v1_interface, 1);
        },
    .global_remove = [](void*, wl_registry*, uint32_t) {},
};

const xdg_wm_base_listener FenceGame::kWmBase{
    .ping = [](void*, xdg_wm_base* base, uint32_t serial) { xdg_wm_base_pong(base, serial); }};

const xdg_surface_listener FenceGame::kXdgSurface{
    .configure = [](void* data, xdg_surface* surface, uint32_t serial) {
        xdg_surface_ack_configure(surface, serial);
        static_cast<FenceGame*>(data)->configured_ = true;
    }};

const xdg_toplevel_listener FenceGame::kToplevel{
    .configure =
        [](void* data, xdg_toplevel*, int32_t width, int32_t height, wl_array*) {
            static_cast<FenceGame*>(data)->wanted_width_ = width;
            static_cast<FenceGame*>(data)->wanted_height_ = height;
        },
    .close = [](void* data, xdg_toplevel*) { static_cast<FenceGame*>(data)->closed_ = true; },
    .configure_bounds = [](void*, xdg_toplevel*, int32_t, int32_t) {},
    .wm_capabilities = [](void*, xdg_toplevel*, wl_array*) {},
};

Result<void> FenceGame::connect() {
    display_ = wl_display_connect(nullptr);
    if (display_ == nullptr) {
        return fail_errno("can't connect to a Wayland compositor; is WAYLAND_DISPLAY set?");
    }
    wl_registry_add_listener(wl_display_get_registry(display_), &kRegistry, this);
    wl_display_roundtrip(display_);
    if (compositor_ == nullptr || wm_base_ == nullptr || dmabuf_ == nullptr ||
        (options_.explicit_sync && syncobj_ == nullptr)) {
        return fail(Fault::unsupported,
                    "the compositor lacks wl_compositor, xdg_wm_base, zwp_linux_dmabuf_v1 or "
                    "wp_linux_drm_syncobj_manager_v1");
    }
    xdg_wm_base_add_listener(wm_base_, &kWmBase, nullptr);
    surface_ = wl_compositor_create_surface(compositor_);
    xdg_surface* shell = xdg_wm_base_get_xdg_surface(wm_base_, surface_);
    xdg_surface_add_listener(shell, &kXdgSurface, this);
    xdg_toplevel* toplevel = xdg_surface_get_toplevel(shell);
    xdg_toplevel_add_listener(toplevel, &kToplevel, this);
    xdg_toplevel_set_title(toplevel, "Stepscope fence game");
    wl_surface_commit(surface_);
    if (options_.explicit_sync) {
        sync_surface_ = wp_linux_drm_syncobj_manager_v1_get_surface(syncobj_, surface_);
    }
    if (options_.feedback) {
        feedback_ = std::make_unique<DmabufFeedback>(dmabuf_, surface_);
    }
    while (!configured_ || (feedback_ && !feedback_->changed())) {
        if (wl_display_roundtrip(display_) < 0) {
            return fail_errno("the compositor went away");
        }
    }
    return {};
}

Result<void> FenceGame::make_buffers() {
    nlohmann::json inodes = nlohmann::json::array();
    nlohmann::json last_inodes = nlohmann::json::array();
    for (unsigned i = 0; i < options_.buffers; ++i) {
        auto picture = memory_.allocate(options_.layout, width_, height_, format_);
        if (!picture) {
            return std::unexpected(picture.error());
        }
        buffers_.push_back(std::make_unique<FenceBuffer>(devices_, std::move(*picture),
                                                         options_.layout, width_, height_));
        if (auto made = buffers_.back()->create(
                dmabuf_, options_.explicit_sync ? syncobj_ : nullptr, format_);
            !made) {
            return made;
        }
        inodes.push_back(buffers_.back()->inode());
        last_inodes.push_back(buffers_.back()->last_inode());
    }
    report_.write("buffers", {{"inodes", inodes},
                              {"last_inodes", last_inodes},
                              {"format", format_},
                              {"stride", buffers_.front()->stride()}});
    return {};
}

void FenceGame::report_feedback() {
    nlohmann::json tranches = nlohmann::json::array();
    for (const FeedbackTranche& tranche : feedback_->tranches()) {
        nlohmann::json formats = nlohmann::json::array();
        for (const FeedbackFormat& format : tranche.formats) {
            formats.push_back({format.fourcc, format.modifier});
        }
        tranches.push_back(
            {{"device", tranche.device}, {"scanout", tranche.scanout}, {"formats", formats}});
    }
    report_.write("feedback", {{"main_device", feedback_->main_device()}, {"tranches", tranches}});
}

// New buffers for every new preference, as Mesa does it.
Result<void> FenceGame::follow_feedback() {
    if (!feedback_ || !feedback_->changed()) {
        return {};
    }
    feedback_->take();
    report_feedback();
    const auto format = feedback_->preferred({DRM_FORMAT_XRGB8888, DRM_FORMAT_XBGR8888});
    if (!format) {
        return fail(Fault::unsupported, "the compositor's feedback has no format to draw in");
    }
    if (*format == format_ && !buffers_.empty()) {
        return {};
    }
    format_ = *format;
    return replace_buffers();
}

Result<void> FenceGame::replace_buffers() {
    old_buffers_.insert(old_buffers_.end(), std::make_move_iterator(buffers_.begin()),
                        std::make_move_iterator(buffers_.end()));
    buffers_.clear();
    return make_buffers();
}

Result<void> FenceGame::follow_size() {
    if (!options_.resizable || wanted_width_ <= 0 || wanted_height_ <= 0 ||
        (wanted_width_ == width_ && wanted_height_ == height_)) {
        return {};
    }
    width_ = wanted_width_;
    height_ = wanted_height_;
    return replace_buffers();
}

// In turn, so that the compositor learns how many there are.
FenceBuffer* FenceGame::find_free() {
    for (size_t i = 0; i < buffers_.size(); ++i) {
        FenceBuffer& buffer = *buffers_[(shown_ + i) % buffers_.size()];
        if (buffer.free()) {
            return &buffer;
        }
    }
    return nullptr;
}

Result<void> FenceGame::show() {
    if (Clock::now() < next_frame_ || (options_.frames != 0 && shown_ >= options_.frames)) {
        return {};
    }
    FenceBuffer* buffer = find_free();
    if (buffer == nullptr) {
        return {};
    }
    if (auto begun = buffer->begin(sync_surface_); !begun) {
        return begun;
    }
    wl_surface_attach(surface_, buffer->proxy(), 0, 0);
    wl_surface_damage_buffer(surface_, 0, 0, width_, height_);
    wl_surface_commit(surface_);
    ++shown_;
    const auto now = Clock::now();
    drawings_.push_back({buffer, shown_, now + milliseconds(options_.late_ms)});
    report_.write("shown", {{"number", shown_}, {"inode", buffer->inode()}});
    next_frame_ = options_.rate > 0
                      ? std::max(next_frame_, now - milliseconds(100)) +
                            std::chrono::nanoseconds(static_cast<int64_t>(1e9 / options_.rate))
                      : now;
    return {};
}

Result<void> FenceGame::draw_due() {
    while (!drawings_.empty() && Clock::now() >= drawings_.front().due) {
        const Drawing drawing = drawings_.front();
        drawings_.erase(drawings_.begin());
        paint(*drawing.buffer, drawing.number);
        if (auto finished = drawing.buffer->finish(); !finished) {
            return finished;
        }
        report_.write("drawn", {{"number", drawing.number}});
    }
    return {};
}

void FenceGame::check_releases() {
    for (const auto& buffer : buffers_) {
        if (buffer->check_release()) {
            report_.write("released", {{"inode", buffer->inode()}});
        }
    }
}

void FenceGame::check_old() {
    std::erase_if(old_buffers_, [&](const auto& buffer) {
        if (options_.explicit_sync) {
            buffer->check_release();
        }
        if (buffer->free()) {
            report_.write("given back", {{"inode", buffer->inode()}});
        }
        return buffer->free();
    });
}

Result<void> FenceGame::wait() {
    while (wl_display_prepare_read(display_) != 0) {
        wl_display_dispatch_pending(display_);
    }
    wl_display_flush(display_);
    std::vector<pollfd> fds{{wl_display_get_fd(display_), POLLIN, 0}};
    for (const auto& buffer : buffers_) {
        fds.push_back({buffer->release_fd(), POLLIN, 0});
    }
    auto until = Clock::now() + milliseconds(100);
    if (!drawings_.empty()) {
        until = std::min(until, drawings_.front().due);
    }
    if (find_free() != nullptr) {
        until = std::min(until, next_frame_);
    }
    const auto left = std::chrono::ceil<milliseconds>(until - Clock::now()).count();
    ::poll(fds.data(), fds.size(), static_cast<int>(std::max<int64_t>(left, 0)));
    if (fds[0].revents != 0) {
        wl_display_read_events(display_);
    } else {
        wl_display_cancel_read(display_);
    }
    if (wl_display_dispatch_pending(display_) < 0) {
        return fail_errno("the compositor went away");
    }
    if (options_.explicit_sync) {
        check_releases();
    }
    check_old();
    return {};
}

Result<void> FenceGame::run() {
    if (auto connected = connect(); !connected) {
        return connected;
    }
    if (auto made = feedback_ ? follow_feedback() : make_buffers(); !made) {
        return made;
    }
    next_frame_ = Clock::now();
    while (!closed_ && (options_.frames == 0 || shown_ < options_.frames || !drawings_.empty())) {
        for (auto step : {&FenceGame::draw_due, &FenceGame::follow_feedback,
                          &FenceGame::follow_size, &FenceGame::show, &FenceGame::wait}) {
            if (auto done = (this->*step)(); !done) {
                return done;
            }
        }
    }
    wl_display_roundtrip(display_);
    return {};
}

int run_fence_game(int argc, char** argv) {
    FenceOptions options;
    std::string size = "320x240";
    CLI::App app{"Shows DMA-BUFs before they are drawn, with fences"};
    app.add_option("--size", size, "As in 320x240");
    app.add_option("--buffers", options.buffers, "Buffers to draw into; never more");
    app.add_option("--memory", options.memory, "udmabuf, dma-heap or gbm")
        ->transform(CLI::CheckedTransformer(
            std::map<std::string, MemorySource>{{"udmabuf", MemorySource::udmabuf},
                                                {"dma-heap", MemorySource::dma_heap},
                                                {"gbm", MemorySource::gbm}}));
    app.add_option("--gbm-device", options.gbm_device,
                   "Node that --memory gbm allocates on, as in /dev/dri/card0; otherwise the "
                   "first that can");
    app.add_option("--layout", options.layout,
                   "packed (RGB), nv12, nv12-two-files, p010, 10-bit or half-float")
        ->transform(CLI::CheckedTransformer(
            std::map<std::string, PictureLayout>{{"packed", PictureLayout::packed},
                                                 {"nv12", PictureLayout::nv12},
                                                 {"nv12-two-files", PictureLayout::nv12_two_files},
                                                 {"p010", PictureLayout::p010},
                                                 {"10-bit", PictureLayout::ten_bit},
                                                 {"half-float", PictureLayout::half_float}}));
    app.add_flag("--explicit-sync", options.explicit_sync, "linux-drm-syncobj-v1");
    app.add_flag("--feedback", options.feedback,
                 "Allocate what the compositor's linux-dmabuf feedback prefers");
    app.add_flag("--resizable", options.resizable, "Take the size that the compositor asks for");
    app.add_option("--rate", options.rate, "Frames per second; 0: as fast as buffers come back");
    app.add_option("--late", options.late_ms, "Milliseconds from showing a frame to drawing it");
    app.add_option("--frames", options.frames, "End after so many frames");
    app.add_option("--report", options.report, "File for one JSON object per event");
    CLI11_PARSE(app, argc, argv);
    if (std::sscanf(size.c_str(), "%dx%d", &options.width, &options.height) != 2) {
        std::cerr << "expected --size as in 320x240, got " << size << '\n';
        return 2;
    }
    if (!options.gbm_device.empty() && options.memory != MemorySource::gbm) {
        std::cerr << "expected --memory gbm with --gbm-device\n";
        return 2;
    }
    auto devices = FenceDevices::open(options.explicit_sync);
    if (!devices) {
        std::cerr << "stepscope-fencegame: " << devices.error().message << '\n';
        return 1;
    }
    auto report = Report::open(options.report);
    if (!report) {
        std::cerr << "stepscope-fencegame: " << report.error().message << '\n';
        return 1;
    }
    auto memory = PictureMemory::open(options.memory, options.gbm_device);
    if (!memory) {
        std::cerr << "stepscope-fencegame: " << memory.error().message << '\n';
        return 1;
    }
    FenceGame game(options, std::move(*devices), std::move(*memory), std::move(*report));
    if (auto done = game.run(); !done) {
        std::cerr << "stepscope-fencegame: " << done.error().message << '\n';
        return 1;
    }
    return 0;
}

}  // namespace
}  // namespace stepscope::testgame

int main(int argc, char** argv) {
    return stepscope::testgame::run_fence_game(argc, argv);
}
