// SPDX-License-Identifier: LGPL-2.1-or-later
#include "fake_compositor.hpp"

#include <drm_fourcc.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <wayland-server-protocol.h>

#include <chrono>
#include <cstring>
#include <format>
#include <stdexcept>
#include <utility>

#include "base/unix_socket.hpp"
#include "fake_input.hpp"
#include "stepscope-control-v1-server-protocol.h"

namespace stepscope::test {
namespace {

void destroy_resource(wl_client*, wl_resource* resource) {
    wl_resource_destroy(resource);
}

uint64_t monotonic_ns() {
    return static_cast<uint64_t>(
        std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count());
}

SessionDirectory make_directory(const std::string& name) {
    auto directory = SessionDirectory::create(name);
    if (!directory) {
        throw std::runtime_error(directory.error().message);
    }
    return std::move(*directory);
}

}  // namespace

struct FakeCompositor::Impl {
    static FakeCompositor& self(wl_resource* resource) {
        return *static_cast<FakeCompositor*>(wl_resource_get_user_data(resource));
    }

    static void get_session(wl_client* client, wl_resource* control, uint32_t id) {
        static constexpr struct stepscope_session_v1_interface impl{
            destroy_resource, set_output, [](wl_client*, wl_resource*) {}};
        FakeCompositor& fake = self(control);
        fake.session_ = wl_resource_create(client, &stepscope_session_v1_interface, 1, id);
        wl_resource_set_implementation(fake.session_, &impl, &fake, [](wl_resource* resource) {
            if (FakeCompositor& owner = self(resource); owner.session_ == resource) {
                owner.session_ = nullptr;
            }
        });
        stepscope_session_v1_send_info(fake.session_, fake.directory_.name().c_str(),
                                       static_cast<uint32_t>(::getpid()), "pixman", "");
        fake.send_output();
    }

    static void set_output(wl_client*, wl_resource* resource, uint32_t width, uint32_t height,
                           uint32_t, uint32_t) {
        FakeCompositor& fake = self(resource);
        fake.log.push_back(std::format("set_output {}x{}", width, height));
        if (fake.obey_size) {
            fake.width = width;
            fake.height = height;
            fake.send_output();
        }
    }

    static void create_capture(wl_client* client, wl_resource* control, uint32_t id) {
        static constexpr struct stepscope_capture_v1_interface impl{
            destroy_resource,
            [](wl_client*, wl_resource* r, uint32_t mode) { self(r).cursor_ = mode; },
            [](wl_client*, wl_resource* r) { self(r).started_ = true; },
            [](wl_client*, wl_resource* r) { self(r).started_ = false; },
            [](wl_client*, wl_resource* r, uint32_t credits) { self(r).credits_ += credits; },
            release,
            [](wl_client*, wl_resource*, uint32_t, int32_t fence) { ::close(fence); },
            [](wl_client*, wl_resource*, wl_array*) {}};
        FakeCompositor& fake = self(control);
        fake.capture_ = wl_resource_create(client, &stepscope_capture_v1_interface, 1, id);
        fake.started_ = false;
        fake.format_sent_ = false;
        fake.first_ = true;
        fake.credits_ = 0;
        fake.slots_.clear();
        fake.held_.clear();
        wl_resource_set_implementation(fake.capture_, &impl, &fake, [](wl_resource* resource) {
            if (FakeCompositor& owner = self(resource); owner.capture_ == resource) {
                owner.capture_ = nullptr;
                owner.started_ = false;
                owner.held_.clear();
            }
        });
    }

    static void release(wl_client*, wl_resource* resource, uint32_t serial) {
        FakeCompositor& fake = self(resource);
        if (fake.held_.erase(serial) == 1) {
            ++fake.releases_;
        } else {
            ++fake.bad_releases_;
        }
    }

    static void bind_control(wl_client* client, void* data, uint32_t version, uint32_t id) {
        static constexpr struct stepscope_control_v1_interface impl{
            destroy_resource, get_session, create_capture, get_stepper, nullptr, get_gamepad};
        wl_resource* control =
            wl_resource_create(client, &stepscope_control_v1_interface, int(version), id);
        wl_resource_set_implementation(control, &impl, data, nullptr);
        stepscope_control_v1_send_capabilities(
            control, static_cast<FakeCompositor*>(data)->lockstep ? 9 : 1);
        if (version >= STEPSCOPE_CONTROL_V1_GAMEPADS_SINCE_VERSION) {
            stepscope_control_v1_send_gamepads(control,
                                               static_cast<FakeCompositor*>(data)->gamepads_);
        }
    }

    static void get_gamepad(wl_client* client, wl_resource* control, uint32_t id, uint32_t number) {
        FakeCompositor& fake = self(control);
        fake.log.push_back(std::format("gamepad {}", number));
        add_fake_gamepad(client, id, fake.log);
    }

    static void get_stepper(wl_client* client, wl_resource* control, uint32_t id) {
        static constexpr struct stepscope_stepper_v1_interface impl{destroy_resource, step};
        FakeCompositor& fake = self(control);
        if (fake.stepper_taken) {
            wl_resource_post_error(control, STEPSCOPE_CONTROL_V1_ERROR_STEPPER_TAKEN, "taken");
            return;
        }
        fake.stepper_ = wl_resource_create(client, &stepscope_stepper_v1_interface, 1, id);
        fake.open_step_.reset();
        wl_resource_set_implementation(fake.stepper_, &impl, &fake, [](wl_resource* resource) {
            if (FakeCompositor& owner = self(resource); owner.stepper_ == resource) {
                owner.stepper_ = nullptr;
                owner.open_step_.reset();
            }
        });
    }

    static void step(wl_client*, wl_resource* resource, uint32_t sequence, uint32_t length_hi,
                     uint32_t length_lo, uint32_t timeout) {
        FakeCompositor& fake = self(resource);
        fake.log.emplace_back("step");
        fake.steps_.push_back({sequence, uint64_t{length_hi} << 32 | length_lo, timeout});
        if (fake.open_step_) {
            wl_resource_post_error(resource, STEPSCOPE_STEPPER_V1_ERROR_STEP_OPEN, "open");
            return;
        }
        fake.open_step_ = fake.steps_.back();
        fake.virtual_ns_ += fake.open_step_->length_ns;
        if (fake.play_step) {
            const auto frame = fake.play_step();
            if (frame) {
                fake.send_frame(*frame);
            }
            fake.answer_step(frame ? 1 : 2);
        }
    }

    /** Learns of a client's end; frees itself then. */
    struct ClientWatch {
        wl_listener destroyed{};
        FakeCompositor* fake = nullptr;
    };

    static void handle_client_created(wl_listener* listener, void* data) {
        FakeCompositor* fake = wl_container_of(listener, fake, client_created_);
        ++fake->clients_;
        auto* watch = new ClientWatch{{}, fake};
        watch->destroyed.notify = [](wl_listener* gone, void*) {
            ClientWatch* self = wl_container_of(gone, self, destroyed);
            --self->fake->clients_;
            wl_list_remove(&self->destroyed.link);
            delete self;
        };
        wl_client_add_destroy_listener(static_cast<wl_client*>(data), &watch->destroyed);
    }
};

FakeCompositor::FakeCompositor(const std::string& name, uint32_t width_in, uint32_t height_in)
    : width(width_in),
      height(height_in),
      fourcc(DRM_FORMAT_XRGB8888),
      directory_(make_directory(name)),
      display_(server_.display()) {
    auto socket = listen_unix(directory_.control_socket());
    if (!socket) {
        throw std::runtime_error(socket.error().message);
    }
    wl_display_add_socket_fd(display_, socket->take());
    client_created_.notify = Impl::handle_client_created;
    wl_display_add_client_created_listener(display_, &client_created_);
    add_fake_input(display_, log);
    SessionInfo info;
    info.pid = ::getpid();
    info.command = "fake";
    info.width = width;
    info.height = height;
    if (auto published = directory_.publish(info); !published) {
        throw std::runtime_error(published.error().message);
    }
    server_.start();
    run([this] {
        control_ = wl_global_create(display_, &stepscope_control_v1_interface, 1, this,
                                    Impl::bind_control);
    });
}

void FakeCompositor::offer_gamepads(uint32_t count) {
    run([this, count] {
        gamepads_ = count;
        wl_global_destroy(control_);
        control_ = wl_global_create(display_, &stepscope_control_v1_interface, 4, this,
                                    Impl::bind_control);
    });
}

FakeCompositor::~FakeCompositor() {
    server_.stop();
    wl_list_remove(&client_created_.link);
}

void FakeCompositor::kill_clients() {
    run([this] { wl_display_destroy_clients(display_); });
}

void FakeCompositor::send_output() {
    if (session_ != nullptr) {
        stepscope_session_v1_send_output(session_, width, height, refresh_numerator,
                                         refresh_denominator);
        stepscope_session_v1_send_done(session_);
    }
}

void FakeCompositor::send_ended(uint32_t how, uint32_t value) {
    stepscope_session_v1_send_ended(session_, how, value);
    stepscope_session_v1_send_done(session_);
}

void FakeCompositor::answer_step(uint32_t status, const char* message) {
    const FakeStep step = std::exchange(open_step_, std::nullopt).value();
    stepscope_stepper_v1_send_stepped(
        stepper_, step.sequence, status, 0, static_cast<uint32_t>(steps_.size()),
        static_cast<uint32_t>(virtual_ns_ >> 32), static_cast<uint32_t>(virtual_ns_), message);
}

void FakeCompositor::send_format() {
    if (format_sent_ && sent_width_ == width && sent_height_ == height) {
        return;
    }
    while (!slots_.empty()) {
        remove_slot(slots_.begin()->first);
    }
    format_sent_ = true;
    sent_width_ = width;
    sent_height_ = height;
    stepscope_capture_v1_send_format(capture_, width, height, fourcc,
                                     static_cast<uint32_t>(modifier >> 32),
                                     static_cast<uint32_t>(modifier));
}

uint32_t FakeCompositor::add_slot() {
    send_format();
    const FakeSlot& wanted = slot_template;
    const uint32_t stride = wanted.stride != 0 ? wanted.stride : width * 4;
    const size_t size =
        wanted.file_size != 0 ? wanted.file_size : wanted.offset + size_t{stride} * height;
    UniqueFd fd(::memfd_create("fake-slot", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(size)) < 0) {
        throw std::runtime_error("no memory for a slot");
    }
    if (wanted.sealed) {
        ::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK);
    }
    const uint32_t slot = next_slot_++;
    stepscope_capture_v1_send_slot(capture_, slot, wanted.memory, wanted.planes);
    for (unsigned plane = 0; plane < wanted.planes && plane < 4; ++plane) {
        stepscope_capture_v1_send_plane(capture_, slot, plane, fd.get(),
                                        wanted.offset + plane * wanted.plane_step, stride);
    }
    stepscope_capture_v1_send_slot_done(capture_, slot);
    slots_[slot] = {std::move(fd), size, width, height};
    return slot;
}

void FakeCompositor::remove_slot(uint32_t slot) {
    stepscope_capture_v1_send_slot_gone(capture_, slot);
    slots_.erase(slot);
}

void FakeCompositor::fill(uint32_t slot, int pixel) {
    const Slot& target = slots_.at(slot);
    void* data =
        ::mmap(nullptr, target.size, PROT_READ | PROT_WRITE, MAP_SHARED, target.fd.get(), 0);
    if (data == MAP_FAILED) {
        throw std::runtime_error("can't map a slot");
    }
    std::memset(data, pixel, target.size);
    ::munmap(data, target.size);
}

bool FakeCompositor::is_held(uint32_t slot) const {
    for (const auto& [serial, used] : held_) {
        if (used == slot) {
            return true;
        }
    }
    return false;
}

bool FakeCompositor::send_frame(const FakeFrame& frame) {
    if (capture_ == nullptr || !started_ || credits_ == 0) {
        return false;
    }
    send_format();
    uint32_t slot = 0;
    for (const auto& [number, unused] : slots_) {
        if (!is_held(number)) {
            slot = number;
            break;
        }
    }
    if (slot == 0) {
        slot = add_slot();
    }
    send_frame_in(slot, frame);
    return true;
}

void FakeCompositor::send_frame_in(uint32_t slot, const FakeFrame& frame) {
    if (frame.pixel >= 0) {
        fill(slot, frame.pixel);
    }
    const uint64_t time = frame.time_ns != 0 ? frame.time_ns : monotonic_ns();
    const uint64_t seconds = time / 1'000'000'000;
    const uint64_t commit = next_commit_++;
    const uint32_t serial = next_serial_++;
    held_[serial] = slot;
    if (credits_ > 0) {
        --credits_;
    }
    if (lockstep) {
        stepscope_capture_v1_send_step_time(capture_, 0, static_cast<uint32_t>(steps_.size()),
                                            static_cast<uint32_t>(virtual_ns_ >> 32),
                                            static_cast<uint32_t>(virtual_ns_));
    }
    stepscope_capture_v1_send_frame(
        capture_, slot, serial, static_cast<uint32_t>(commit >> 32), static_cast<uint32_t>(commit),
        static_cast<uint32_t>(seconds >> 32), static_cast<uint32_t>(seconds),
        static_cast<uint32_t>(time % 1'000'000'000), frame.path, frame.reason, first_ ? 1 : 0,
        frame.dropped);
    first_ = false;
}

}  // namespace stepscope::test
