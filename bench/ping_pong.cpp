// SPDX-License-Identifier: LGPL-2.1-or-later
// The floor under a lock-step step: a bare Wayland server with two clients, and nothing else. One
// asks for a frame; the server lets the other draw; that commits; the server answers the first. So
// many socket messages and process switches a step has at least.
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <wayland-client-protocol.h>
#include <wayland-server-core.h>
#include <wayland-server-protocol.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

struct Side {
    wl_client* client = nullptr;
    wl_resource* callback = nullptr;  // asked for and not answered
};

struct Server {
    wl_display* display = nullptr;
    std::array<Side, 2> sides;  // who asks, who draws
    bool asked = false;
};

Server server;

Side& side_of(wl_client* client) {
    return server.sides[client == server.sides[0].client ? 0 : 1];
}

void answer(Side& side) {
    if (wl_resource* callback = std::exchange(side.callback, nullptr)) {
        wl_callback_send_done(callback, 0);
        wl_resource_destroy(callback);
    }
}

void handle_commit(wl_client* client, wl_resource*) {
    if (&side_of(client) == &server.sides[0]) {
        server.asked = true;
    } else if (server.sides[0].callback != nullptr && !server.asked) {
        answer(server.sides[0]);
    }
    // The one that draws may be late at first.
    if (server.asked && server.sides[1].callback != nullptr) {
        server.asked = false;
        answer(server.sides[1]);
    }
}

const struct wl_surface_interface kSurface{
    .destroy = [](wl_client*, wl_resource* resource) { wl_resource_destroy(resource); },
    .frame =
        [](wl_client* client, wl_resource*, uint32_t id) {
            side_of(client).callback = wl_resource_create(client, &wl_callback_interface, 1, id);
        },
    .commit = handle_commit,
};

const struct wl_compositor_interface kCompositor{
    .create_surface =
        [](wl_client* client, wl_resource*, uint32_t id) {
            wl_resource* surface = wl_resource_create(client, &wl_surface_interface, 1, id);
            wl_resource_set_implementation(surface, &kSurface, nullptr, nullptr);
        },
};

/** A client in a process of its own; `run` gets its display, its surface and is its life. */
pid_t start_client(Side& side, void (*run)(wl_display*, wl_surface*, unsigned), unsigned rounds) {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
        std::perror("ping_pong: socketpair");
        std::exit(1);
    }
    const pid_t pid = ::fork();
    if (pid != 0) {
        ::close(ends[1]);
        side.client = wl_client_create(server.display, ends[0]);
        return pid;
    }
    ::close(ends[0]);
    wl_display* display = wl_display_connect_to_fd(ends[1]);
    wl_compositor* compositor = nullptr;
    const wl_registry_listener listener{
        .global =
            [](void* data, wl_registry* registry, uint32_t name, const char*, uint32_t) {
                *static_cast<wl_compositor**>(data) = static_cast<wl_compositor*>(
                    wl_registry_bind(registry, name, &wl_compositor_interface, 1));
            },
        .global_remove = [](void*, wl_registry*, uint32_t) {},
    };
    wl_registry_add_listener(wl_display_get_registry(display), &listener, &compositor);
    wl_display_roundtrip(display);
    run(display, wl_compositor_create_surface(compositor), rounds);
    std::exit(0);
}

void frame(wl_display* display, wl_surface* surface) {
    bool done = false;
    const wl_callback_listener listener{.done = [](void* data, wl_callback* callback, uint32_t) {
        *static_cast<bool*>(data) = true;
        wl_callback_destroy(callback);
    }};
    wl_callback_add_listener(wl_surface_frame(surface), &listener, &done);
    wl_surface_commit(surface);
    while (!done) {
        if (wl_display_dispatch(display) < 0) {
            std::exit(0);  // the other side has had enough
        }
    }
}

void ask(wl_display* display, wl_surface* surface, unsigned rounds) {
    std::vector<double> costs_us;
    for (unsigned i = 0; i < rounds; ++i) {
        const auto from = Clock::now();
        frame(display, surface);
        costs_us.push_back(std::chrono::duration<double, std::micro>(Clock::now() - from).count());
    }
    std::ranges::sort(costs_us);
    const auto at = [&](double part) {
        return costs_us[static_cast<size_t>(part * double(costs_us.size() - 1))];
    };
    std::printf("%s\n", nlohmann::json{{"p50_us", at(0.5)}, {"p99_us", at(0.99)}}.dump().c_str());
}

void draw(wl_display* display, wl_surface* surface, unsigned /*rounds*/) {
    for (;;) {
        frame(display, surface);
    }
}

}  // namespace

int main(int argc, char** argv) {
    unsigned rounds = 5000;
    CLI::App app{"Round trips through a Wayland server to another client and back"};
    app.add_option("--rounds", rounds, "How many")->check(CLI::Range(1U, 10'000'000U));
    CLI11_PARSE(app, argc, argv);
    server.display = wl_display_create();
    wl_global_create(server.display, &wl_compositor_interface, 1, nullptr,
                     [](wl_client* client, void*, uint32_t version, uint32_t id) {
                         wl_resource* resource = wl_resource_create(
                             client, &wl_compositor_interface, static_cast<int>(version), id);
                         wl_resource_set_implementation(resource, &kCompositor, nullptr, nullptr);
                     });
    start_client(server.sides[1], draw, rounds);
    start_client(server.sides[0], ask, rounds);
    wl_listener gone{.link = {},
                     .notify = [](wl_listener*, void*) { wl_display_terminate(server.display); }};
    wl_client_add_destroy_listener(server.sides[0].client, &gone);
    wl_display_run(server.display);
    wl_display_destroy_clients(server.display);
    wl_display_destroy(server.display);
    while (::wait(nullptr) > 0) {
    }
    return 0;
}
