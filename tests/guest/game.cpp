// SPDX-License-Identifier: LGPL-2.1-or-later
#include "game.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <sstream>

using namespace stepscope;

const char* clock_program() {
    const char* other = std::getenv("STEPSCOPE_TEST_CLOCK_PROGRAM");
    return other ? other : STEPSCOPE_CLOCK_PROGRAM;
}

Game::Game(const std::string& scenario, const ClockController::Options& options)
    : Game(std::vector<std::string>{clock_program(), scenario}, options) {}

Game::Game(const std::vector<std::string>& command, const ClockController::Options& options)
    : clock_([&] {
          auto created = ClockController::create(options);
          REQUIRE(created);
          return std::move(*created);
      }()) {
    clock_.set_callbacks(
        {.on_step_done = [this](const auto& result) { results_.push_back(result); },
         .on_quiescent =
             [this] {
                 ++quiescence_calls;
                 if (on_quiescence) {
                     on_quiescence(quiescence_calls);
                 }
                 return quiet;
             }});
    start(command);
}

void Game::start(const std::vector<std::string>& command) {
    int out[2];
    int in[2];
    REQUIRE(::pipe2(out, O_CLOEXEC) == 0);
    REQUIRE(::pipe2(in, O_CLOEXEC) == 0);
    REQUIRE(clock_.expect_process());
    std::vector<std::string> environment = clock_.environment(STEPSCOPE_CLOCK_LIBRARY);
    std::vector<char*> arguments;
    for (const std::string& argument : command) {
        arguments.push_back(const_cast<char*>(argument.c_str()));
    }
    arguments.push_back(nullptr);
    pid_ = ::fork();
    REQUIRE(pid_ >= 0);
    if (pid_ == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (int fd : clock_.inherited_fds()) {
            ::fcntl(fd, F_SETFD, 0);
        }
        ::dup2(in[0], STDIN_FILENO);
        ::dup2(out[1], STDOUT_FILENO);
        for (std::string& entry : environment) {
            ::putenv(entry.data());
        }
        ::execvp(arguments[0], arguments.data());
        ::_exit(127);
    }
    ::close(out[1]);
    ::close(in[0]);
    output_.reset(out[0]);
    input_.reset(in[1]);
    ::fcntl(output_.get(), F_SETFL, O_NONBLOCK);
    clock_.process_started(pid_);
}

Game::~Game() {
    if (pid_ > 0) {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }
    for (const auto& thread : clock_.threads()) {
        if (thread.pid > 0) {
            ::kill(thread.pid, SIGKILL);
        }
    }
}

ClockController::StepResult Game::step(uint64_t delta_ns, int patience_ms) {
    results_.clear();
    const auto begun = clock_.begin_step(delta_ns);
    REQUIRE(begun);
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(patience_ms);
    while (results_.empty()) {
        pollfd events[] = {{clock_.fd(), POLLIN, 0}, {output_.get(), POLLIN, 0}};
        ::poll(events, 2, 100);
        if (events[0].revents) {
            clock_.dispatch();
        }
        if (events[1].revents) {
            read_output();
            if (events[1].revents & POLLHUP) {
                ::poll(events, 1, 1);
            }
        }
        if (std::chrono::steady_clock::now() > deadline) {
            FAIL("the step did not end:\n" << clock_.describe());
        }
    }
    return results_.front();
}

ClockController::StepResult Game::run(uint64_t delta_ns, int max_steps) {
    for (int i = 0; i < max_steps; ++i) {
        auto result = step(delta_ns);
        if (result.status == ClockController::StepStatus::exited ||
            result.status == ClockController::StepStatus::crashed) {
            read_output();
            return result;
        }
    }
    FAIL("the program did not end:\n" << clock_.describe());
    return {};
}

void Game::read_output() {
    char buffer[4096];
    ssize_t size = 0;
    while ((size = ::read(output_.get(), buffer, sizeof buffer)) > 0) {
        pending_.append(buffer, static_cast<size_t>(size));
    }
    size_t end = 0;
    while ((end = pending_.find('\n')) != std::string::npos) {
        std::istringstream text(pending_.substr(0, end));
        Line line;
        text >> line.name >> line.result >> line.value;
        lines_.push_back(line);
        pending_.erase(0, end + 1);
    }
}

const std::vector<Line>& Game::lines() {
    read_output();
    return lines_;
}

Line Game::line(const std::string& name) {
    for (const Line& line : lines()) {
        if (line.name == name) {
            return line;
        }
    }
    FAIL("the program printed no line '" << name << "'");
    return {};
}

BusyMachine::BusyMachine(int count) {
    for (int i = 0; i < count; ++i) {
        const pid_t pid = ::fork();
        if (pid == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (volatile unsigned j = 0;; j = j + 1) {
            }
        }
        pids_.push_back(pid);
    }
}

BusyMachine::~BusyMachine() {
    for (pid_t pid : pids_) {
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
    }
}
