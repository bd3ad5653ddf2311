// SPDX-License-Identifier: LGPL-2.1-or-later
// Steps a session in lock-step as fast as it goes and prints what a step costs, as JSON. With
// --hashes the pictures are hashed, which shows whether two runs are the same. A bare client of the
// control protocol, so that nothing but the compositor and the game is measured.
#include <sys/mman.h>
#include <wayland-client.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <format>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "base/session_registry.hpp"
#include "base/unique_fd.hpp"
#include "base/unix_socket.hpp"
#include "stepscope-control-v1-client-protocol.h"

namespace {

using Clock = std::chrono::steady_clock;

struct Slot {
    stepscope::UniqueFd fd;
    uint32_t offset = 0;
    uint32_t stride = 0;
    uint32_t width_bytes = 0;
    uint32_t height = 0;
    const uint8_t* data = nullptr;
    size_t size = 0;
};

struct Bench {
    wl_display* display = nullptr;
    stepscope_control_v1* control = nullptr;
    stepscope_capture_v1* capture = nullptr;
    stepscope_stepper_v1* stepper = nullptr;
    std::map<uint32_t, Slot> slots;
    uint32_t width = 0;
    uint32_t height = 0;

    bool hash = false;
    std::optional<uint32_t> frame_slot;
    uint32_t frame_serial = 0;
    bool answered = false;
    uint32_t status = 0;
    std::string message;
    uint64_t now_ns = 0;
};

uint64_t fnv1a(const Slot& slot) {
    uint64_t hash = 0xcbf29ce484222325;
    for (uint32_t row = 0; row < slot.height; ++row) {
        const uint8_t* line = slot.data + slot.offset + size_t{row} * slot.stride;
        for (uint32_t i = 0; i + 8 <= slot.width_bytes; i += 8) {
            uint64_t word = 0;
            __builtin_memcpy(&word, line + i, 8);
            // The byte that no format defines is noise.
            hash = (hash ^ (word & 0x00ffffff00ffffff)) * 0x100000001b3;
        }
    }
    return hash;
}

const stepscope_capture_v1_listener kCapture{
    .format =
        [](void* data, stepscope_capture_v1*, uint32_t width, uint32_t height, uint32_t, uint32_t,
           uint32_t) {
            auto* bench = static_cast<Bench*>(data);
            bench->width = width;
            bench->height = height;
        },
    .slot = [](void*, stepscope_capture_v1*, uint32_t, uint32_t, uint32_t) {},
    .plane =
        [](void* data, stepscope_capture_v1*, uint32_t id, uint32_t index, int32_t fd,
           uint32_t offset, uint32_t stride) {
            auto* bench = static_cast<Bench*>(data);
            stepscope::UniqueFd owned(fd);
            if (index != 0) {
                return;
            }
            Slot& slot = bench->slots[id];
            slot.fd = std::move(owned);
            slot.offset = offset;
            slot.stride = stride;
            slot.height = bench->height;
            slot.width_bytes = bench->width * 4;
            slot.size = size_t{offset} + size_t{stride} * bench->height;
            if (bench->hash) {
                void* map = ::mmap(nullptr, slot.size, PROT_READ, MAP_SHARED, slot.fd.get(), 0);
                slot.data = map != MAP_FAILED ? static_cast<const uint8_t*>(map) : nullptr;
            }
        },
    .slot_done = [](void*, stepscope_capture_v1*, uint32_t) {},
    .slot_gone =
        [](void* data, stepscope_capture_v1*, uint32_t id) {
            auto* bench = static_cast<Bench*>(data);
            if (const Slot& slot = bench->slots[id]; slot.data != nullptr) {
                ::munmap(const_cast<uint8_t*>(slot.data), slot.size);
            }
            bench->slots.erase(id);
        },
    .damage = [](void*, stepscope_capture_v1*, int32_t, int32_t, int32_t, int32_t) {},
    .step_time = [](void*, stepscope_capture_v1*, uint32_t, uint32_t, uint32_t, uint32_t) {},
    .frame =
        [](void* data, stepscope_capture_v1*, uint32_t slot, uint32_t serial, uint32_t, uint32_t,
           uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t) {
            auto* bench = static_cast<Bench*>(data);
            bench->frame_slot = slot;
            bench->frame_serial = serial;
        },
};

const stepscope_stepper_v1_listener kStepper{
    .stepped =
        [](void* data, stepscope_stepper_v1*, uint32_t, uint32_t status, uint32_t, uint32_t,
           uint32_t now_hi, uint32_t now_lo, const char* message) {
            auto* bench = static_cast<Bench*>(data);
            bench->answered = true;
            bench->status = status;
            bench->message = message;
            bench->now_ns = uint64_t{now_hi} << 32 | now_lo;
        },
};

const wl_registry_listener kRegistry{
    .global =
        [](void* data, wl_registry* registry, uint32_t name, const char* interface, uint32_t) {
            if (std::string_view(interface) == stepscope_control_v1_interface.name) {
                static_cast<Bench*>(data)->control = static_cast<stepscope_control_v1*>(
                    wl_registry_bind(registry, name, &stepscope_control_v1_interface, 1));
            }
        },
    .global_remove = [](void*, wl_registry*, uint32_t) {},
};

int die(const std::string& message) {
    std::fprintf(stderr, "step_bench: %s\n", message.c_str());
    return 1;
}

double percentile(std::vector<double>& sorted, double part) {
    return sorted.empty() ? 0 : sorted[static_cast<size_t>(part * double(sorted.size() - 1))];
}

}  // namespace

int main(int argc, char** argv) {
    std::string session;
    std::string hash_file;
    unsigned steps = 1000;
    unsigned skip = 0;
    double rate = 60;
    unsigned timeout_ms = 20000;
    CLI::App app{"Steps a session as fast as it goes and prints what a step costs"};
    app.add_option("--session", session, "Session to step");
    app.add_option("--steps", steps, "Steps to measure");
    app.add_option("--skip", skip, "Steps before that, not measured and not hashed");
    app.add_option("--rate", rate, "Steps per second of the game's time");
    app.add_option("--timeout", timeout_ms, "Longest wall time of a step in milliseconds");
    app.add_option("--hashes", hash_file, "File for one line per step: status and picture hash");
    CLI11_PARSE(app, argc, argv);

    auto found = stepscope::find_session(session);
    if (!found) {
        return die(found.error().message);
    }
    auto socket = stepscope::connect_unix(found->directory + "/control");
    if (!socket) {
        return die(socket.error().message);
    }
    Bench bench;
    bench.hash = !hash_file.empty();
    bench.display = wl_display_connect_to_fd(socket->take());
    wl_registry_add_listener(wl_display_get_registry(bench.display), &kRegistry, &bench);
    wl_display_roundtrip(bench.display);
    if (bench.control == nullptr) {
        return die("the session has no control protocol");
    }
    bench.capture = stepscope_control_v1_create_capture(bench.control);
    stepscope_capture_v1_add_listener(bench.capture, &kCapture, &bench);
    stepscope_capture_v1_grant(bench.capture, 4);
    stepscope_capture_v1_start(bench.capture);
    bench.stepper = stepscope_control_v1_get_stepper(bench.control);
    stepscope_stepper_v1_add_listener(bench.stepper, &kStepper, &bench);

    std::ofstream hashes;
    if (bench.hash) {
        hashes.open(hash_file);
    }
    const auto length = static_cast<uint64_t>(1e9 / rate);
    std::vector<double> costs_us;
    std::map<uint32_t, unsigned> statuses;
    auto measured_from = Clock::now();
    double hash_seconds = 0;
    for (unsigned step = 0; step < skip + steps; ++step) {
        if (step == skip) {
            measured_from = Clock::now();
            hash_seconds = 0;
        }
        bench.answered = false;
        const auto from = Clock::now();
        stepscope_stepper_v1_step(bench.stepper, step, static_cast<uint32_t>(length >> 32),
                                  static_cast<uint32_t>(length), timeout_ms);
        while (!bench.answered) {
            if (wl_display_dispatch(bench.display) < 0) {
                return die("the compositor went away or reported a protocol error");
            }
        }
        const auto to = Clock::now();
        uint64_t hash = 0;
        if (bench.frame_slot && bench.hash && bench.slots[*bench.frame_slot].data != nullptr) {
            hash = fnv1a(bench.slots[*bench.frame_slot]);
            hash_seconds += std::chrono::duration<double>(Clock::now() - to).count();
        }
        if (step >= skip) {
            costs_us.push_back(std::chrono::duration<double, std::micro>(to - from).count());
            ++statuses[bench.status];
            if (bench.hash) {
                hashes << std::format("{} {} {:016x}\n", step, bench.status, hash);
            }
        }
        if (bench.frame_slot) {
            stepscope_capture_v1_release(bench.capture, bench.frame_serial);
            stepscope_capture_v1_grant(bench.capture, 1);
            bench.frame_slot.reset();
        }
        if (bench.status >= STEPSCOPE_STEPPER_V1_STATUS_EXITED) {
            std::fprintf(stderr, "step_bench: step %u: %s\n", step, bench.message.c_str());
            break;
        }
    }
    const double seconds =
        std::chrono::duration<double>(Clock::now() - measured_from).count() - hash_seconds;
    std::ranges::sort(costs_us);
    auto count = [&](uint32_t status) { return statuses[status]; };
    nlohmann::json result{
        {"steps", costs_us.size()},
        {"seconds", seconds},
        {"steps_per_second", double(costs_us.size()) / seconds},
        {"times_real_time", double(costs_us.size()) / seconds / rate},
        {"p50_us", percentile(costs_us, 0.5)},
        {"p99_us", percentile(costs_us, 0.99)},
        {"max_us", costs_us.empty() ? 0 : costs_us.back()},
        {"presented", count(STEPSCOPE_STEPPER_V1_STATUS_PRESENTED)},
        {"no_commit", count(STEPSCOPE_STEPPER_V1_STATUS_NO_COMMIT)},
        {"exited", count(STEPSCOPE_STEPPER_V1_STATUS_EXITED)},
        {"crashed", count(STEPSCOPE_STEPPER_V1_STATUS_CRASHED)},
        {"timeout", count(STEPSCOPE_STEPPER_V1_STATUS_TIMEOUT)},
        {"virtual_seconds", double(bench.now_ns) / 1e9},
    };
    std::printf("%s\n", result.dump(2).c_str());
    wl_display_disconnect(bench.display);
    return 0;
}
