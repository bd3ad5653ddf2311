// SPDX-License-Identifier: LGPL-2.1-or-later
#include "capture.hpp"

#include <span>

#include "capture_output.hpp"

namespace stepscope {
namespace {

/** More than any pipeline holds; bounds what a client can make us remember. */
constexpr uint32_t kMaxCredits = 1024;
/** Pairs of format and modifier that fit into a message of Wayland. */
constexpr size_t kMaxFormats = 341;

uint32_t high(uint64_t value) {
    return static_cast<uint32_t>(value >> 32);
}
uint32_t low(uint64_t value) {
    return static_cast<uint32_t>(value);
}

bool same_format(const FrameMemory& a, const FrameMemory& b) {
    return a.width == b.width && a.height == b.height && a.fourcc == b.fourcc &&
           a.modifier == b.modifier;
}

}  // namespace

const struct stepscope_capture_v1_interface Capture::kRequests{
    .destroy = handle_destroy_request,
    .set_cursor = handle_set_cursor,
    .start = handle_start,
    .stop = handle_stop,
    .grant = handle_grant,
    .release = handle_release,
    .add_release_fence = handle_add_release_fence,
    .set_formats = handle_set_formats,
};

Capture::Capture(wl_client* client, uint32_t version, uint32_t id, CaptureOutput& output,
                 BufferLending& lending, BufferReturns& returns, Hooks hooks)
    : resource_(wl_resource_create(client, &stepscope_capture_v1_interface,
                                   static_cast<int>(version), id)),
      output_(output),
      lending_(lending),
      returns_(returns),
      hooks_(std::move(hooks)) {
    if (resource_ == nullptr) {
        wl_client_post_no_memory(client);
        return;
    }
    wl_resource_set_implementation(resource_, &kRequests, this, [](wl_resource* gone) {
        Capture* self = self_of(gone);
        // A copy: it ends with what it is called through.
        const auto notify = self->hooks_.ended;
        notify(self);
    });
}

Capture::~Capture() {
    set_embedded_cursor(false);
    slots_.clear();
    for (auto& [serial, held] : held_) {
        returns_.take(held.buffer, std::move(held.fence));
    }
    output_.handle_memory_returned();
}

Capture* Capture::self_of(wl_resource* resource) {
    return static_cast<Capture*>(wl_resource_get_user_data(resource));
}

void Capture::handle_destroy_request(wl_client* /*client*/, wl_resource* resource) {
    wl_resource_destroy(resource);
}

void Capture::handle_set_cursor(wl_client* /*client*/, wl_resource* resource, uint32_t mode) {
    if (mode > STEPSCOPE_CAPTURE_V1_CURSOR_EMBEDDED) {
        wl_resource_post_error(resource, STEPSCOPE_CAPTURE_V1_ERROR_INVALID_CURSOR,
                               "cursor mode %u; expected 0 (hidden) or 1 (embedded)", mode);
        return;
    }
    self_of(resource)->set_embedded_cursor(mode == STEPSCOPE_CAPTURE_V1_CURSOR_EMBEDDED);
}

void Capture::handle_start(wl_client* /*client*/, wl_resource* resource) {
    Capture* self = self_of(resource);
    self->started_ = true;
    self->behind_ = true;
    self->output_.request_picture();
}

void Capture::handle_stop(wl_client* /*client*/, wl_resource* resource) {
    self_of(resource)->started_ = false;
}

void Capture::handle_grant(wl_client* /*client*/, wl_resource* resource, uint32_t credits) {
    Capture* self = self_of(resource);
    if (credits > kMaxCredits || self->credits_ + credits > kMaxCredits) {
        wl_resource_post_error(resource, STEPSCOPE_CAPTURE_V1_ERROR_TOO_MANY_CREDITS,
                               "%u more credits on top of %u; at most %u may be outstanding",
                               credits, self->credits_, kMaxCredits);
        return;
    }
    self->credits_ += credits;
    if (self->started_ && self->behind_ && self->credits_ > 0) {
        self->output_.request_picture();
    }
}

void Capture::handle_release(wl_client* /*client*/, wl_resource* resource, uint32_t serial) {
    Capture* self = self_of(resource);
    auto found = self->held_.find(serial);
    if (found == self->held_.end()) {
        wl_resource_post_error(resource, STEPSCOPE_CAPTURE_V1_ERROR_INVALID_SERIAL,
                               "release of frame %u, which is not held", serial);
        return;
    }
    Held held = std::move(found->second);
    self->held_.erase(found);
    self->returns_.take(held.buffer, std::move(held.fence));
    self->output_.handle_memory_returned();
}

void Capture::handle_add_release_fence(wl_client* /*client*/, wl_resource* resource,
                                       uint32_t serial, int32_t fence) {
    Capture* self = self_of(resource);
    UniqueFd fd(fence);
    auto found = self->held_.find(serial);
    if (found == self->held_.end()) {
        wl_resource_post_error(resource, STEPSCOPE_CAPTURE_V1_ERROR_INVALID_SERIAL,
                               "release fence of frame %u, which is not held", serial);
        return;
    }
    auto adopted = SyncFile::adopt(std::move(fd));
    if (!adopted) {
        wl_resource_post_error(resource, STEPSCOPE_CAPTURE_V1_ERROR_INVALID_FENCE,
                               "release fence of frame %u: %s", serial,
                               adopted.error().message.c_str());
        return;
    }
    merge_into(found->second.fence, std::move(*adopted));
}

void Capture::handle_set_formats(wl_client* /*client*/, wl_resource* resource, wl_array* formats) {
    Capture* self = self_of(resource);
    const size_t numbers = formats->size / sizeof(uint32_t);
    if (formats->size % (3 * sizeof(uint32_t)) != 0 || numbers / 3 > kMaxFormats) {
        wl_resource_post_error(resource, STEPSCOPE_CAPTURE_V1_ERROR_INVALID_FORMATS,
                               "formats of %zu bytes; expected at most %zu groups of 12",
                               formats->size, kMaxFormats);
        return;
    }
    std::vector<PictureLayout> layouts;
    const std::span values(static_cast<const uint32_t*>(formats->data), numbers);
    for (size_t i = 0; i < numbers; i += 3) {
        layouts.push_back({values[i], uint64_t{values[i + 1]} << 32 | values[i + 2]});
    }
    if (layouts.empty()) {
        self->formats_.reset();
    } else {
        self->formats_ = std::move(layouts);
    }
    self->hooks_.formats_changed();
}

void Capture::set_embedded_cursor(bool embedded) {
    if (embedded_cursor_ == embedded) {
        return;
    }
    embedded_cursor_ = embedded;
    if (embedded) {
        output_.add_embedded_cursor_user();
    } else {
        output_.remove_embedded_cursor_user();
    }
}

void Capture::handle_frame(const CapturedFrame& frame) {
    if (!started_) {
        return;
    }
    const bool new_picture = frame.commit != seen_commit_;
    if (!new_picture && !behind_) {
        return;
    }
    damage_.add(frame.damage);
    if (credits_ == 0) {
        // Counted when it is replaced: the picture may still be sent.
        dropped_ += behind_ && new_picture && seen_commit_ != sent_commit_ ? 1 : 0;
        seen_commit_ = frame.commit;
        behind_ = true;
        return;
    }
    if (new_picture && behind_ && seen_commit_ != sent_commit_) {
        ++dropped_;
    }
    seen_commit_ = frame.commit;
    send_frame(frame);
}

void Capture::handle_lost_frame() {
    if (started_) {
        ++dropped_;
        behind_ = true;
    }
}

void Capture::send_format(const FrameMemory& memory) {
    format_ = memory;
    stepscope_capture_v1_send_format(resource_, memory.width, memory.height, memory.fourcc,
                                     high(memory.modifier), low(memory.modifier));
}

uint32_t Capture::announce_slot(const CapturedFrame& frame) {
    auto& slot = slots_[frame.buffer];
    if (slot) {
        return slot->id;
    }
    slot = std::make_unique<Slot>();
    slot->id = next_slot_++;
    wlr_buffer* buffer = frame.buffer;
    slot->destroyed.connect(buffer->events.destroy, [this, buffer](void*) {
        auto found = slots_.find(buffer);
        stepscope_capture_v1_send_slot_gone(resource_, found->second->id);
        slots_.erase(found);
    });
    stepscope_capture_v1_send_slot(resource_, slot->id,
                                   frame.memory.kind == FrameMemory::Kind::dmabuf
                                       ? STEPSCOPE_CAPTURE_V1_MEMORY_DMABUF
                                       : STEPSCOPE_CAPTURE_V1_MEMORY_MEMFD,
                                   frame.memory.planes);
    for (unsigned i = 0; i < frame.memory.planes; ++i) {
        const FrameMemory::Plane& plane = frame.memory.plane[i];
        stepscope_capture_v1_send_plane(resource_, slot->id, i, plane.fd, plane.offset,
                                        plane.stride);
    }
    stepscope_capture_v1_send_slot_done(resource_, slot->id);
    return slot->id;
}

void Capture::send_fence(const CapturedFrame& frame) {
    if (frame.acquire == nullptr) {
        return;
    }
    if (wl_resource_get_version(resource_) >= STEPSCOPE_CAPTURE_V1_ACQUIRE_FENCE_SINCE_VERSION) {
        stepscope_capture_v1_send_acquire_fence(resource_, frame.acquire->fd());
        return;
    }
    // Where the kernel is too old its drivers wait by themselves.
    static_cast<void>(put_into_memory(frame.memory, *frame.acquire));
}

void Capture::send_frame(const CapturedFrame& frame) {
    uint32_t flags = 0;
    if (!same_format(format_, frame.memory)) {
        if (format_.width != 0) {
            flags |= STEPSCOPE_CAPTURE_V1_FLAG_DISCONTINUITY;
        }
        send_format(frame.memory);
        damage_.clear();
    }
    const uint32_t slot = announce_slot(frame);
    if (first_) {
        flags |= STEPSCOPE_CAPTURE_V1_FLAG_FIRST;
    } else {
        int count = 0;
        const pixman_box32_t* boxes = pixman_region32_rectangles(damage_.get(), &count);
        for (int i = 0; i < count; ++i) {
            stepscope_capture_v1_send_damage(resource_, boxes[i].x1, boxes[i].y1,
                                             boxes[i].x2 - boxes[i].x1, boxes[i].y2 - boxes[i].y1);
        }
    }
    if (frame.step) {
        const auto now = static_cast<uint64_t>(frame.step->now_ns);
        stepscope_capture_v1_send_step_time(resource_, high(frame.step->step),
                                            low(frame.step->step), high(now), low(now));
    }
    send_fence(frame);
    const uint32_t serial = next_serial_++;
    const auto seconds = static_cast<uint64_t>(frame.presented_ns / 1'000'000'000);
    stepscope_capture_v1_send_frame(resource_, slot, serial, high(frame.commit), low(frame.commit),
                                    high(seconds), low(seconds),
                                    static_cast<uint32_t>(frame.presented_ns % 1'000'000'000),
                                    frame.path, frame.reason, flags, dropped_);
    held_.emplace(serial, Held{wlr_buffer_lock(frame.buffer), std::nullopt});
    lending_.lend(frame.buffer);
    --credits_;
    first_ = false;
    behind_ = false;
    dropped_ = 0;
    sent_commit_ = frame.commit;
    damage_.clear();
    // Now, and not when the loop comes round: the consumer works while the game's reply is made.
    wl_client_flush(wl_resource_get_client(resource_));
}

}  // namespace stepscope
