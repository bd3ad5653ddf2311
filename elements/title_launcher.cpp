// SPDX-License-Identifier: LGPL-2.1-or-later
#include "title_launcher.hpp"

#include <pthread.h>

namespace stepscope {
namespace {

/** A title that is to be started again, or has ended anyway, needs no long farewell. */
constexpr std::chrono::milliseconds kEndGrace{1000};

/**
 * gst-launch-1.0 misses an error that comes while it still changes the state, and then waits for
 * ever. A mistake in a property is found sooner than that.
 */
constexpr std::chrono::milliseconds kSoonestError{200};

}  // namespace

void TitleLauncher::start(const LaunchSettings& settings) {
    stop();
    settings_ = settings;
    signals_.stop = false;
    end_of_stream_ = false;
    thread_ = std::thread([this] {
        ::pthread_setname_np(::pthread_self(), "steamlaunchsrc");
        run();
    });
}

void TitleLauncher::request_end_of_stream() {
    end_of_stream_ = true;
    request_stop();
}

void TitleLauncher::request_stop() {
    signals_.stop = true;
    signals_.wake();
}

void TitleLauncher::stop() {
    if (thread_.joinable()) {
        request_stop();
        thread_.join();
    }
}

void TitleLauncher::notify_first_frame() {
    signals_.first_frame = true;
    signals_.wake();
}

void TitleLauncher::notify_capture_over() {
    signals_.capture_over = true;
    signals_.wake();
}

void TitleLauncher::notify_session_over() {
    signals_.session_over = true;
    signals_.wake();
}

void TitleLauncher::run() {
    const auto begin = std::chrono::steady_clock::now();
    for (unsigned number = 1; !signals_.stop; ++number) {
        signals_.first_frame = false;
        signals_.capture_over = false;
        signals_.session_over = false;
        LaunchAttempt attempt(settings_, signals_, hooks_.attempt, number);
        const AttemptEnd end = attempt.run();
        if (end.kind == AttemptEnd::Kind::failed) {
            signals_.wait_until(begin + kSoonestError);
        }
        const bool again = handle_end(end);
        attempt.take_down(end.kind == AttemptEnd::Kind::stopped ? attempt.polite_grace()
                                                                : kEndGrace);
        if (!again) {
            return;
        }
    }
}

bool TitleLauncher::handle_end(const AttemptEnd& end) {
    switch (end.kind) {
        case AttemptEnd::Kind::stopped:
            if (end_of_stream_) {
                hooks_.end_of_stream();
            }
            return false;
        case AttemptEnd::Kind::capture_error:
            hooks_.fail_capture();
            end_capture();
            return false;
        case AttemptEnd::Kind::failed:
            hooks_.fail(end.error, end.debug);
            end_capture();
            return false;
        case AttemptEnd::Kind::ended:
            break;
    }
    switch (settings_.on_exit) {
        case OnExit::eos:
            end_capture();
            return false;
        case OnExit::error:
            hooks_.fail(end.error, end.debug);
            end_capture();
            return false;
        case OnExit::restart:
            hooks_.stop_capture();
            break;
    }
    return true;
}

void TitleLauncher::end_capture() {
    // This may last until the application stops the pipeline, on what it was told before: sinks
    // that wait for each other's first buffer hold ours.
    hooks_.stop_capture();
    hooks_.end_of_stream();
}

}  // namespace stepscope
