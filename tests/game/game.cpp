// SPDX-License-Identifier: LGPL-2.1-or-later
#include "game.hpp"

#include <spawn.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "beeper.hpp"
#include "painter.hpp"

namespace stepscope::testgame {

namespace {

using std::chrono::nanoseconds;

/** How long a launcher shows its window before it starts the game, and after. */
constexpr double kLauncherSeconds = 0.5;
constexpr std::chrono::milliseconds kLauncherLinger{200};

nanoseconds to_nanoseconds(double seconds) {
    return std::chrono::duration_cast<nanoseconds>(std::chrono::duration<double>(seconds));
}

}  // namespace

Game::Game(const Options& options, Report& report)
    : options_(options), report_(report), start_(Clock::now()) {
    exit_at_ = after(options.exit_after);
    crash_at_ = after(options.crash_after);
    dialog_at_ = after(options.dialog_after);
    popup_at_ = after(options.popup_after);
    if (options.handover) {
        handover_at_ = after(kLauncherSeconds);
    }
    frame_at_ = start_;
    report_.write("start", {{"pid", getpid()}});
}

std::optional<TimePoint> Game::after(std::optional<double> seconds) const {
    if (!seconds) {
        return std::nullopt;
    }
    return start_ + to_nanoseconds(*seconds);
}

bool Game::take(std::optional<TimePoint>& due) {
    if (!due || Clock::now() < *due) {
        return false;
    }
    due.reset();
    return true;
}

void Game::tick() {
    if (take(crash_at_)) {
        const rlimit none{0, 0};
        setrlimit(RLIMIT_CORE, &none);
        report_.write("crash");
        std::abort();
    }
    if (take(handover_at_)) {
        start_game();
        exit_at_ = Clock::now() + kLauncherLinger;
    }
    if (take(exit_at_) || (options_.frames != 0 && frames_shown_ >= options_.frames)) {
        finished_ = true;
    }
}

void Game::start_game() {
    std::vector<std::string> words = options_.game;
    words.insert(words.begin(), "stepscope-testgame");
    std::vector<char*> arguments;
    arguments.reserve(words.size() + 1);
    for (std::string& word : words) {
        arguments.push_back(word.data());
    }
    arguments.push_back(nullptr);
    pid_t pid = 0;
    const int error =
        posix_spawn(&pid, "/proc/self/exe", nullptr, nullptr, arguments.data(), environ);
    if (error != 0) {
        std::fprintf(stderr, "stepscope-testgame: can't start the game: %s\n",
                     std::strerror(error));
        return;
    }
    report_.write("handover", {{"game_pid", pid}});
}

void Game::write_summary() {
    report_.write("exit", {{"status", options_.exit_status},
                           {"frames", frames_shown_},
                           {"starved_frames", starved_frames_},
                           {"starved_ns", starved_.count()}});
}

bool Game::frame_due() const {
    if (options_.frames != 0 && frames_shown_ >= options_.frames) {
        return false;
    }
    if (options_.vsync) {
        return vsync_due_;
    }
    return options_.rate == 0 || Clock::now() >= frame_at_;
}

void Game::starve() {
    if (!starving_since_) {
        starving_since_ = Clock::now();
        ++starved_frames_;
    }
}

uint32_t Game::paint_next(const frame_code::Pixels& image) {
    gamepads_.read([this](const PadEvent& event) {
        input("pad", {{"pad", event.pad},
                      {"code", event.code},
                      {"value", event.value},
                      {"age_ns", event.age_ns}});
    });
    const uint32_t number = frames_shown_ + 1;
    if (options_.beep && beeping(options_.alsa ? Clock::now().time_since_epoch()
                                               : nanoseconds(frame_at_ - start_))) {
        paint_solid(image, 0xffffff);
    } else {
        paint_frame(image, options_.paint, number, input_sequence_);
    }
    return number;
}

void Game::frame_shown() {
    ++frames_shown_;
    vsync_due_ = false;
    if (starving_since_) {
        starved_ += Clock::now() - *starving_since_;
        starving_since_.reset();
    }
    if (options_.rate > 0) {
        // What could not be drawn in time is not made up for.
        frame_at_ += to_nanoseconds(1 / options_.rate);
        frame_at_ = std::max(frame_at_, Clock::now() - to_nanoseconds(1 / options_.rate));
    }
    if (report_.enabled()) {
        report_.write("frame", {{"number", frames_shown_}, {"input", input_sequence_}});
    }
}

void Game::buffer_released(nanoseconds busy) {
    if (report_.enabled()) {
        const nanoseconds starved =
            starving_since_ ? Clock::now() - *starving_since_ : nanoseconds{};
        report_.write("release", {{"busy_ns", busy.count()}, {"starved_ns", starved.count()}});
    }
}

void Game::input(const char* event, nlohmann::json fields) {
    ++input_sequence_;
    fields["input"] = input_sequence_;
    report_.write(event, std::move(fields));
}

void Game::second_opened() {
    if (options_.second_for > 0) {
        close_second_at_ = Clock::now() + to_nanoseconds(options_.second_for);
    }
}

std::optional<TimePoint> Game::next_wake(bool drawable) const {
    std::optional<TimePoint> wake;
    auto consider = [&](const std::optional<TimePoint>& due) {
        if (due && (!wake || *due < *wake)) {
            wake = due;
        }
    };
    for (const auto& due :
         {exit_at_, crash_at_, handover_at_, dialog_at_, popup_at_, close_second_at_}) {
        consider(due);
    }
    if (drawable && !starving_since_) {
        if (frame_due()) {
            consider(start_);
        } else if (!options_.vsync && options_.rate > 0) {
            consider(frame_at_);
        }
    }
    return wake;
}

bool Game::wait(std::span<pollfd> descriptors, bool drawable) {
    timespec timeout{};
    const auto wake = next_wake(drawable);
    if (wake) {
        const auto left = std::max<int64_t>(0, nanoseconds(*wake - Clock::now()).count());
        timeout.tv_sec = left / 1'000'000'000;
        timeout.tv_nsec = left % 1'000'000'000;
    }
    const timespec* longest = wake ? &timeout : nullptr;
    if (!options_.epoll) {
        return ppoll(descriptors.data(), descriptors.size(), longest, nullptr) >= 0 ||
               errno == EINTR;
    }
    epoll_event event{};
    if (!epoll_) {
        epoll_.reset(epoll_create1(EPOLL_CLOEXEC));
        for (const pollfd& descriptor : descriptors) {
            event.events = static_cast<uint32_t>(descriptor.events);
            epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, descriptor.fd, &event);
        }
    }
    return epoll_pwait2(epoll_.get(), &event, 1, longest, nullptr) >= 0 || errno == EINTR;
}

}  // namespace stepscope::testgame
