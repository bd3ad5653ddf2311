// SPDX-License-Identifier: LGPL-2.1-or-later
#include "fake_display.hpp"

#include <sys/mman.h>
#include <unistd.h>
#include <wayland-server-protocol.h>

#include <chrono>
#include <cstring>
#include <stdexcept>

#include "ext-image-capture-source-v1-server-protocol.h"
#include "ext-image-copy-capture-v1-server-protocol.h"
#include "fake_dmabuf.hpp"
#include "wlr-screencopy-unstable-v1-server-protocol.h"

namespace stepscope::test {
namespace {

void destroy_resource(wl_client*, wl_resource* resource) {
    wl_resource_destroy(resource);
}

/** Writes without waiting for fences, as a GPU that is told to wait for others later would. */
void fill_dmabuf(int fd, int pixel) {
    const auto size = static_cast<size_t>(::lseek(fd, 0, SEEK_END));
    void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) {
        throw std::runtime_error("can't map a DMA-BUF");
    }
    std::memset(data, pixel, size);
    ::munmap(data, size);
}

}  // namespace

struct FakeDisplay::Impl {
    static FakeDisplay& self(wl_resource* resource) {
        return *static_cast<FakeDisplay*>(wl_resource_get_user_data(resource));
    }

    static wl_resource* make(wl_client* client, const wl_interface& type, uint32_t version,
                             uint32_t id, const void* impl, void* data,
                             wl_resource_destroy_func_t destroyed = nullptr) {
        wl_resource* resource = wl_resource_create(client, &type, static_cast<int>(version), id);
        wl_resource_set_implementation(resource, impl, data, destroyed);
        return resource;
    }

    static void bind_output(wl_client* client, void* data, uint32_t version, uint32_t id) {
        static constexpr struct wl_output_interface impl{destroy_resource};
        wl_resource* output = make(client, wl_output_interface, version, id, &impl, data);
        wl_output_send_mode(output, WL_OUTPUT_MODE_CURRENT, 64, 48, 60'000);
        wl_output_send_name(output, static_cast<Output*>(data)->name.c_str());
        wl_output_send_done(output);
    }

    static void frame_gone(wl_resource* resource) {
        if (FakeDisplay& fake = self(resource); fake.frame_ == resource) {
            fake.frame_ = nullptr;
            fake.attached_ = nullptr;
            fake.buffer_ = nullptr;
        }
    }

    void static ask(FakeDisplay& fake, wl_resource* buffer, bool cursor, bool damage,
                    const char* protocol) {
        fake.buffer_ = buffer;
        fake.with_cursor_ = cursor;
        fake.with_damage_ = damage;
        fake.used_ = protocol;
        ++fake.copies_asked_;
    }

    // ext-image-copy-capture-v1

    static void bind_sources(wl_client* client, void* data, uint32_t version, uint32_t id) {
        static constexpr struct ext_image_capture_source_v1_interface source{destroy_resource};
        static constexpr struct ext_output_image_capture_source_manager_v1_interface impl{
            [](wl_client* owner, wl_resource* manager, uint32_t source_id, wl_resource*) {
                make(owner, ext_image_capture_source_v1_interface, 1, source_id, &source,
                     &self(manager));
            },
            destroy_resource};
        make(client, ext_output_image_capture_source_manager_v1_interface, version, id, &impl,
             data);
    }

    static void bind_captures(wl_client* client, void* data, uint32_t version, uint32_t id) {
        static constexpr struct ext_image_copy_capture_manager_v1_interface impl{
            create_session, [](wl_client*, wl_resource*, uint32_t, wl_resource*, wl_resource*) {},
            destroy_resource};
        make(client, ext_image_copy_capture_manager_v1_interface, version, id, &impl, data);
    }

    static void create_session(wl_client* client, wl_resource* manager, uint32_t id, wl_resource*,
                               uint32_t options) {
        static constexpr struct ext_image_copy_capture_session_v1_interface impl{create_frame,
                                                                                 destroy_resource};
        FakeDisplay& fake = self(manager);
        fake.session_ =
            make(client, ext_image_copy_capture_session_v1_interface, 1, id, &impl, &fake,
                 [](wl_resource* resource) {
                     if (FakeDisplay& owner = self(resource); owner.session_ == resource) {
                         owner.session_ = nullptr;
                     }
                 });
        fake.session_cursor_ = options == 1;
        fake.send_constraints();
    }

    static void create_frame(wl_client* client, wl_resource* session, uint32_t id) {
        static constexpr struct ext_image_copy_capture_frame_v1_interface impl{
            destroy_resource,
            [](wl_client*, wl_resource* frame, wl_resource* buffer) {
                self(frame).attached_ = buffer;
            },
            [](wl_client*, wl_resource*, int32_t, int32_t, int32_t, int32_t) {},
            [](wl_client*, wl_resource* frame) {
                FakeDisplay& owner = self(frame);
                ask(owner, owner.attached_, owner.session_cursor_, true, "ext");
            }};
        FakeDisplay& fake = self(session);
        if (fake.frame_ != nullptr) {
            wl_resource_post_error(session, 1, "a second frame");
            return;
        }
        fake.frame_ = make(client, ext_image_copy_capture_frame_v1_interface, 1, id, &impl, &fake,
                           frame_gone);
        fake.ext_frame_ = true;
    }

    // wlr-screencopy-unstable-v1

    static void bind_screencopy(wl_client* client, void* data, uint32_t version, uint32_t id) {
        static constexpr struct zwlr_screencopy_manager_v1_interface impl{
            capture_output,
            [](wl_client*, wl_resource*, uint32_t, int32_t, wl_resource*, int32_t, int32_t, int32_t,
               int32_t) {},
            destroy_resource};
        make(client, zwlr_screencopy_manager_v1_interface, version, id, &impl, data);
    }

    static void capture_output(wl_client* client, wl_resource* manager, uint32_t id, int32_t cursor,
                               wl_resource*) {
        static constexpr struct zwlr_screencopy_frame_v1_interface impl{
            [](wl_client*, wl_resource* frame, wl_resource* buffer) {
                ask(self(frame), buffer, self(frame).session_cursor_, false, "wlr");
            },
            destroy_resource,
            [](wl_client*, wl_resource* frame, wl_resource* buffer) {
                ask(self(frame), buffer, self(frame).session_cursor_, true, "wlr");
            }};
        FakeDisplay& fake = self(manager);
        const auto version = static_cast<uint32_t>(wl_resource_get_version(manager));
        fake.frame_ =
            make(client, zwlr_screencopy_frame_v1_interface, version, id, &impl, &fake, frame_gone);
        fake.ext_frame_ = false;
        fake.session_cursor_ = cursor != 0;
        zwlr_screencopy_frame_v1_send_buffer(fake.frame_, fake.formats.front(), fake.width,
                                             fake.height, fake.width * 4);
        if (version >= ZWLR_SCREENCOPY_FRAME_V1_BUFFER_DONE_SINCE_VERSION) {
            zwlr_screencopy_frame_v1_send_buffer_done(fake.frame_);
        }
    }
};

FakeDisplay::FakeDisplay(const Protocols& protocols) : formats{WL_SHM_FORMAT_XRGB8888} {
    wl_display* display = server_.display();
    const char* socket = wl_display_add_socket_auto(display);
    if (socket == nullptr) {
        throw std::runtime_error("no socket for a display");
    }
    name_ = socket;
    wl_display_init_shm(display);
    for (uint32_t format : {WL_SHM_FORMAT_XBGR8888, WL_SHM_FORMAT_RGB565}) {
        wl_display_add_shm_format(display, format);
    }
    if (protocols.dmabuf) {
        offer_fake_dmabuf(display);
    }
    add_output("FAKE-1");
    if (protocols.ext != 0) {
        wl_global_create(display, &ext_output_image_capture_source_manager_v1_interface, 1, this,
                         Impl::bind_sources);
        wl_global_create(display, &ext_image_copy_capture_manager_v1_interface, 1, this,
                         Impl::bind_captures);
    }
    if (protocols.wlr != 0) {
        wl_global_create(display, &zwlr_screencopy_manager_v1_interface,
                         static_cast<int>(protocols.wlr), this, Impl::bind_screencopy);
    }
    server_.start();
}

FakeDisplay::~FakeDisplay() {
    server_.stop();
}

void FakeDisplay::add_output(const std::string& name) {
    auto output = std::make_unique<Output>();
    output->name = name;
    output->global = wl_global_create(server_.display(), &wl_output_interface, 4, output.get(),
                                      Impl::bind_output);
    outputs_.push_back(std::move(output));
}

void FakeDisplay::remove_output() {
    wl_global_remove(outputs_.front()->global);
}

void FakeDisplay::kill_clients() {
    run([this] { wl_display_destroy_clients(server_.display()); });
}

unsigned FakeDisplay::clients() const {
    return static_cast<unsigned>(wl_list_length(wl_display_get_client_list(server_.display())));
}

void FakeDisplay::send_constraints() {
    if (session_ == nullptr) {
        return;
    }
    ext_image_copy_capture_session_v1_send_buffer_size(session_, width, height);
    for (uint32_t format : formats) {
        ext_image_copy_capture_session_v1_send_shm_format(session_, format);
    }
    for (const auto& [format, modifier] : dmabuf_formats) {
        wl_array modifiers{};
        wl_array_init(&modifiers);
        std::memcpy(wl_array_add(&modifiers, sizeof(modifier)), &modifier, sizeof(modifier));
        ext_image_copy_capture_session_v1_send_dmabuf_format(session_, format, &modifiers);
        wl_array_release(&modifiers);
    }
    ext_image_copy_capture_session_v1_send_done(session_);
}

void FakeDisplay::stop_session() {
    ext_image_copy_capture_session_v1_send_stopped(session_);
}

void FakeDisplay::forget_copy() {
    // The client destroys the frame; until then it is not to be touched any more.
    frame_ = nullptr;
    attached_ = nullptr;
    buffer_ = nullptr;
}

int FakeDisplay::wanted_dmabuf() const {
    return buffer_ != nullptr ? fake_dmabuf_fd(buffer_) : -1;
}

uint32_t FakeDisplay::wanted_stride() const {
    return buffer_ != nullptr ? fake_dmabuf_stride(buffer_) : 0;
}

bool FakeDisplay::copy(const FakeCopy& copy) {
    if (buffer_ == nullptr) {
        return false;
    }
    if (wl_shm_buffer* buffer = wl_shm_buffer_get(buffer_); buffer != nullptr) {
        wl_shm_buffer_begin_access(buffer);
        std::memset(wl_shm_buffer_get_data(buffer), copy.pixel,
                    static_cast<size_t>(wl_shm_buffer_get_stride(buffer)) *
                        static_cast<size_t>(wl_shm_buffer_get_height(buffer)));
        wl_shm_buffer_end_access(buffer);
    } else {
        fill_dmabuf(wanted_dmabuf(), copy.pixel);
    }
    const auto now = static_cast<uint64_t>(
        std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count());
    const uint64_t time = copy.time_ns != 0 ? copy.time_ns : now;
    const uint64_t seconds = time / 1'000'000'000;
    const auto high = static_cast<uint32_t>(seconds >> 32);
    const auto low = static_cast<uint32_t>(seconds);
    const auto rest = static_cast<uint32_t>(time % 1'000'000'000);
    if (ext_frame_) {
        for (const PictureArea& area : copy.damage) {
            ext_image_copy_capture_frame_v1_send_damage(
                frame_, static_cast<int32_t>(area.x), static_cast<int32_t>(area.y),
                static_cast<int32_t>(area.width), static_cast<int32_t>(area.height));
        }
        ext_image_copy_capture_frame_v1_send_presentation_time(frame_, high, low, rest);
        ext_image_copy_capture_frame_v1_send_ready(frame_);
    } else {
        zwlr_screencopy_frame_v1_send_flags(
            frame_, copy.upside_down ? ZWLR_SCREENCOPY_FRAME_V1_FLAGS_Y_INVERT : 0);
        for (const PictureArea& area : copy.damage) {
            zwlr_screencopy_frame_v1_send_damage(frame_, area.x, area.y, area.width, area.height);
        }
        zwlr_screencopy_frame_v1_send_ready(frame_, high, low, rest);
    }
    forget_copy();
    return true;
}

bool FakeDisplay::fail_copy(uint32_t reason) {
    if (buffer_ == nullptr) {
        return false;
    }
    if (ext_frame_) {
        ext_image_copy_capture_frame_v1_send_failed(frame_, reason);
    } else {
        zwlr_screencopy_frame_v1_send_failed(frame_);
    }
    forget_copy();
    return true;
}

}  // namespace stepscope::test
