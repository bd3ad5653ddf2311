// SPDX-License-Identifier: LGPL-2.1-or-later
#include "server_thread.hpp"

#include <sys/eventfd.h>

#include <chrono>
#include <future>
#include <stdexcept>

namespace stepscope::test {
namespace {

constexpr std::chrono::seconds kWatchdog{20};

}  // namespace

ServerThread::ServerThread()
    : display_(wl_display_create()), command_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (display_ == nullptr || !command_fd_) {
        throw std::runtime_error("can't make a display");
    }
    auto run_commands = [](int fd, uint32_t, void* data) {
        eventfd_t ignored = 0;
        eventfd_read(fd, &ignored);
        auto& self = *static_cast<ServerThread*>(data);
        std::vector<std::function<void()>> commands;
        {
            std::lock_guard lock(self.mutex_);
            commands.swap(self.commands_);
        }
        for (const auto& command : commands) {
            command();
        }
        return 0;
    };
    command_source_ = wl_event_loop_add_fd(wl_display_get_event_loop(display_), command_fd_.get(),
                                           WL_EVENT_READABLE, run_commands, this);
}

ServerThread::~ServerThread() {
    stop();
    wl_event_source_remove(command_source_);
    wl_display_destroy(display_);
}

void ServerThread::start() {
    thread_ = std::thread([this] { serve(); });
}

void ServerThread::stop() {
    quit_ = true;
    frozen_ = false;
    if (thread_.joinable()) {
        eventfd_write(command_fd_.get(), 1);
        thread_.join();
    }
    wl_display_destroy_clients(display_);
}

void ServerThread::serve() {
    while (!quit_) {
        if (frozen_) {
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
            continue;
        }
        wl_event_loop_dispatch(wl_display_get_event_loop(display_), 100);
        wl_display_flush_clients(display_);
    }
}

void ServerThread::run(const std::function<void()>& function) {
    std::promise<void> done;
    {
        std::lock_guard lock(mutex_);
        commands_.push_back([&] {
            function();
            wl_display_flush_clients(display_);
            done.set_value();
        });
    }
    eventfd_write(command_fd_.get(), 1);
    done.get_future().wait();
}

bool ServerThread::wait_until(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + kWatchdog;
    for (;;) {
        bool holds = false;
        run([&] { holds = condition(); });
        if (holds || std::chrono::steady_clock::now() >= deadline) {
            return holds;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
}

void ServerThread::freeze() {
    run([this] { frozen_ = true; });
}

}  // namespace stepscope::test
