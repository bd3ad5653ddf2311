// SPDX-License-Identifier: LGPL-2.1-or-later
#include "launch_attempt.hpp"

#include <sys/eventfd.h>

#include <algorithm>
#include <cstring>
#include <format>
#include <nlohmann/json.hpp>

#include "pidfd.hpp"
#include "session_command.hpp"
#include "steam/unicode.hpp"

namespace stepscope {
namespace {

using std::chrono::milliseconds;

/** While something is expected to happen, and afterwards. */
constexpr milliseconds kScanWhileStarting{200};
constexpr milliseconds kScanWhileRunning{1000};
/** A title may end and be started again by its own launcher. */
constexpr milliseconds kTitleGrace{1000};
/** A session that ends takes its capture with it, and says so soon. */
constexpr milliseconds kCaptureGrace{1000};
/** …and is gone some seconds after that: all of the game has to end before. */
constexpr milliseconds kSessionEndGrace{15000};
constexpr milliseconds kCommandGrace{2000};
/** A client writes down what it has to. */
constexpr milliseconds kClientGrace{5000};

std::atomic<unsigned> session_count = 0;

}  // namespace

LaunchSignals::LaunchSignals() : wake_fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

void LaunchSignals::wake() const {
    const uint64_t one = 1;
    (void)!::write(wake_fd.get(), &one, sizeof(one));
}

void LaunchSignals::wait_until(std::chrono::steady_clock::time_point time) const {
    while (!stop) {
        const auto left = std::chrono::ceil<milliseconds>(time - std::chrono::steady_clock::now());
        if (left.count() <= 0) {
            return;
        }
        pollfd polled{wake_fd.get(), POLLIN, 0};
        ::poll(&polled, 1, static_cast<int>(left.count()));
        uint64_t count = 0;
        (void)!::read(wake_fd.get(), &count, sizeof(count));
    }
}

LaunchAttempt::LaunchAttempt(const LaunchSettings& settings, LaunchSignals& signals,
                             const LaunchHooks& hooks, unsigned number)
    : settings_(settings), signals_(signals), hooks_(hooks), number_(number) {}

milliseconds LaunchAttempt::polite_grace() const {
    return plan_.by_client() ? kClientGrace : kCommandGrace;
}

AttemptEnd LaunchAttempt::run() {
    if (auto started = start(); !started) {
        return {AttemptEnd::Kind::failed, started.error(), {}};
    }
    for (;;) {
        if (signals_.stop) {
            return {};
        }
        session_->dispatch();
        if (auto end = check()) {
            return std::move(*end);
        }
        wait(window_seen_ && frame_seen_ ? kScanWhileRunning : kScanWhileStarting);
    }
}

Result<void> LaunchAttempt::start() {
    auto plan = plan_launch(settings_, steam::SteamEnvironment::from_process());
    if (!plan) {
        return std::unexpected(plan.error());
    }
    plan_ = std::move(*plan);
    if (plan_.title) {
        const PlannedTitle& planned = *plan_.title;
        auto client = stage("client-found");
        gst_structure_set(client.get(), "installation", G_TYPE_STRING,
                          planned.installation.root.c_str(), "packaging", G_TYPE_STRING,
                          std::string(steam::to_string(planned.installation.packaging)).c_str(),
                          "running", G_TYPE_BOOLEAN, planned.client_running, nullptr);
        report(std::move(client));
        const steam::SteamTitle& title = planned.title;
        auto found = stage("title-found");
        gst_structure_set(found.get(), "app-id", G_TYPE_UINT, title.app_id, "title", G_TYPE_STRING,
                          title.name.c_str(), "state", G_TYPE_STRING,
                          std::string(steam::to_string(title.state)).c_str(), "build-id",
                          G_TYPE_UINT64, title.manifest.build_id, "install-path", G_TYPE_STRING,
                          title.install_path.c_str(), "runtime", G_TYPE_STRING,
                          std::string(steam::to_string(title.runtime)).c_str(), "compat-tool",
                          G_TYPE_STRING, title.compat_tool.c_str(), "launch-options", G_TYPE_STRING,
                          title.launch_options.c_str(), nullptr);
        report(std::move(found));
    }
    hooks_.planned(plan_);
    session_name_ = settings_.session.empty()
                        ? std::format("launch-{}-{}", ::getpid(), ++session_count)
                        : settings_.session;
    auto command = make_session_command(settings_, plan_, session_name_);
    if (!command) {
        return std::unexpected(command.error());
    }
    auto session = SessionProcess::start(
        *command, {.ready =
                       [this](const std::string& name) {
                           session_name_ = name;
                           ready_ = true;
                           auto ready = stage("session-ready");
                           gst_structure_set(ready.get(), "session", G_TYPE_STRING, name.c_str(),
                                             nullptr);
                           report(std::move(ready));
                           // In lock-step nothing happens until somebody takes steps.
                           if (settings_.lockstep) {
                               capture();
                           }
                       },
                   .event = [this](const nlohmann::json& event) { handle_event(event); },
                   .output = [this](const std::string& line) { hooks_.output(line); }});
    if (!session) {
        return std::unexpected(session.error());
    }
    session_ = std::move(*session);
    auto launching = stage("launching");
    gst_structure_set(launching.get(), "command", G_TYPE_STRING,
                      steam::join_words(plan_.launch.words).c_str(), nullptr);
    report(std::move(launching));
    return {};
}

GstPtr<GstStructure> LaunchAttempt::stage(const char* name) {
    const auto now = Clock::now();
    const auto ns = [](Clock::duration duration) {
        return static_cast<guint64>(
            std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count());
    };
    GstPtr<GstStructure> message(
        gst_structure_new("steamlaunch-progress", "stage", G_TYPE_STRING, name, "elapsed",
                          GST_TYPE_CLOCK_TIME, ns(now - begin_), "took", GST_TYPE_CLOCK_TIME,
                          ns(now - last_stage_), "attempt", G_TYPE_UINT, number_, nullptr));
    last_stage_ = progress_at_ = now;
    return message;
}

void LaunchAttempt::capture() {
    if (!captured_) {
        captured_ = true;
        hooks_.start_capture(session_name_);
    }
}

void LaunchAttempt::handle_event(const nlohmann::json& event) {
    const std::string kind = event.value("event", "");
    if (kind == "started") {
        if (!plan_.by_client()) {
            auto up = stage("process-up");
            gst_structure_set(up.get(), "pid", G_TYPE_INT, event.value("pid", 0), nullptr);
            report(std::move(up));
        }
    } else if (kind == "window") {
        handle_window(event.value("title", ""), event.value("app-id", ""), event.value("pid", 0));
    } else if (kind == "ended") {
        const std::string how = event.value("how", "");
        const int value = event.value("value", 0);
        if (how == "not-started") {
            not_started_ = value;
        } else {
            ProcessEnd end;
            (how == "signaled" ? end.signal : end.status) = value;
            command_end_ = end;
        }
    }
}

void LaunchAttempt::handle_window(const std::string& title, const std::string& app_id, pid_t pid) {
    last_window_ = std::format("'{}'", steam::printable(title.empty() ? app_id : title));
    if (window_seen_) {
        return;
    }
    if (plan_.by_client()) {
        scan();
        if (!is_titles_window(app_id, pid)) {
            return;
        }
    }
    window_seen_ = true;
    auto mapped = stage("window-mapped");
    gst_structure_set(mapped.get(), "title", G_TYPE_STRING, steam::printable(title).c_str(),
                      "app-id", G_TYPE_STRING, steam::printable(app_id).c_str(), "pid", G_TYPE_INT,
                      pid, nullptr);
    report(std::move(mapped));
    capture();
}

/** The client's own windows are none of the title's. */
bool LaunchAttempt::is_titles_window(const std::string& app_id, pid_t pid) const {
    const PlannedTitle* planned = plan_.client_title();
    if (planned == nullptr) {
        return false;
    }
    const std::string proton = std::format("steam_app_{}", planned->title.app_id);
    if (std::ranges::contains(processes_.of_title, pid) || app_id == proton) {
        return true;
    }
    // Some X11 windows don't say whose they are.
    return pid == 0 && title_seen_ && !app_id.starts_with("steam") && !app_id.starts_with("Steam");
}

void LaunchAttempt::watch(pid_t pid) {
    if (pid <= 0 || std::ranges::contains(watched_, pid)) {
        return;
    }
    watched_.push_back(pid);
    pidfds_.push_back(open_pidfd(pid));
}

void LaunchAttempt::scan() {
    next_scan_ = Clock::now() + (window_seen_ ? kScanWhileRunning : kScanWhileStarting);
    const PlannedTitle* planned = plan_.client_title();
    if (planned == nullptr || session_->reaper() == 0) {
        return;
    }
    processes_ = find_title_processes(processes_below(session_->reaper()), planned->title.app_id);
    if (processes_.client != 0) {
        client_seen_ = true;
        watch(processes_.client);
    } else if (client_seen_) {
        client_gone_ = true;
    }
    if (processes_.compiles_shaders) {
        if (!compiling_) {
            report(stage("shader-pre-caching"));
        }
        progress_at_ = Clock::now();
    }
    compiling_ = processes_.compiles_shaders;
    if (processes_.title == 0) {
        if (title_seen_ && !title_gone_at_) {
            title_gone_at_ = Clock::now();
        }
        return;
    }
    title_gone_at_.reset();
    watch(processes_.title);
    if (!title_seen_ && processes_.game != 0) {
        title_seen_ = true;
        auto up = stage("process-up");
        gst_structure_set(up.get(), "pid", G_TYPE_INT, processes_.game, "name", G_TYPE_STRING,
                          steam::printable(processes_.game_name).c_str(), nullptr);
        report(std::move(up));
    }
}

void LaunchAttempt::follow_update() {
    next_update_look_ = Clock::now() + kScanWhileRunning;
    if (!plan_.title) {
        return;
    }
    steam::SteamTitle& title = plan_.title->title;
    auto manifest = steam::load_app_manifest(std::format(
        "{}/appmanifest_{}.acf", steam::steamapps_directory(title.library), title.app_id));
    if (!manifest) {
        return;
    }
    steam::SteamTitle now = title;
    now.manifest = *manifest;
    now.state = steam::classify(*manifest, {.folder_exists = true, .client_running = true});
    title = now;
    const bool updates =
        now.state == steam::TitleState::updating || now.state == steam::TitleState::validating;
    if (!updates || (updating_ && manifest->bytes_downloaded == downloaded_)) {
        updating_ = updates;
        return;
    }
    updating_ = true;
    downloaded_ = manifest->bytes_downloaded;
    auto message = stage("updating");
    gst_structure_set(message.get(), "state", G_TYPE_STRING,
                      std::string(steam::to_string(now.state)).c_str(), "bytes-downloaded",
                      G_TYPE_UINT64, manifest->bytes_downloaded, "bytes-to-download", G_TYPE_UINT64,
                      manifest->bytes_to_download, nullptr);
    report(std::move(message));
}

void LaunchAttempt::wait(milliseconds limit) {
    std::vector<pollfd> polled{{signals_.wake_fd.get(), POLLIN, 0}};
    for (const UniqueFd& pidfd : pidfds_) {
        if (pidfd) {
            polled.push_back({pidfd.get(), POLLIN, 0});
        }
    }
    const size_t end_of_watched = polled.size();
    session_->add_to(polled);
    if (title_gone_at_ || capture_over_at_) {
        limit = std::min(limit, kScanWhileStarting);
    }
    ::poll(polled.data(), polled.size(), static_cast<int>(limit.count()));
    uint64_t count = 0;
    (void)!::read(signals_.wake_fd.get(), &count, sizeof(count));
    for (size_t i = 1; i < end_of_watched; ++i) {
        if (polled[i].revents != 0) {
            next_scan_ = Clock::now();
            // Said once; it would be said for ever.
            std::erase_if(pidfds_, [&](const UniqueFd& fd) { return fd.get() == polled[i].fd; });
        }
    }
}

std::optional<AttemptEnd> LaunchAttempt::check() {
    if (signals_.first_frame && !frame_seen_) {
        frame_seen_ = true;
        report(stage("first-frame"));
    }
    if (not_started_) {
        return AttemptEnd{
            AttemptEnd::Kind::failed,
            fail(Fault::not_found,
                 std::format("'{}' can't be started: {}; check the spelling and the path",
                             plan_.launch.words.front(), std::strerror(*not_started_)))
                .error(),
            debug_text()};
    }
    if (session_->ended()) {
        return finish(command_end_.value_or(session_->end()),
                      command_end_ ? plan_.label : "the compositor");
    }
    if (auto end = check_processes()) {
        return end;
    }
    if (signals_.capture_over && !capture_over_at_) {
        capture_over_at_ = Clock::now();
    }
    if (capture_over_at_ && signals_.session_over) {
        // It is over, however long its process takes.
        if (Clock::now() > *capture_over_at_ + kSessionEndGrace) {
            return finish(command_end_.value_or(ProcessEnd{}), plan_.label);
        }
    } else if (capture_over_at_ && Clock::now() > *capture_over_at_ + kCaptureGrace) {
        return AttemptEnd{AttemptEnd::Kind::capture_error, {}, debug_text()};
    }
    return check_deadline();
}

std::optional<AttemptEnd> LaunchAttempt::check_processes() {
    if (!plan_.by_client()) {
        // A launcher that is done leaves its game to us; one that was killed takes it along.
        if (command_end_ && command_end_->signal) {
            return finish(*command_end_, plan_.label);
        }
        return std::nullopt;
    }
    if (Clock::now() >= next_scan_) {
        scan();
    }
    if (!title_seen_ && Clock::now() >= next_update_look_) {
        follow_update();
    }
    if (client_gone_) {
        return finish({}, "the Steam client");
    }
    if (title_gone_at_ && Clock::now() >= *title_gone_at_ + kTitleGrace) {
        return finish({}, plan_.label);
    }
    return std::nullopt;
}

AttemptEnd LaunchAttempt::finish(const ProcessEnd& end, const std::string& what) {
    const std::string how = what + " " + end.describe();
    auto exited = stage("exited");
    gst_structure_set(exited.get(), "what", G_TYPE_STRING, what.c_str(), "description",
                      G_TYPE_STRING, how.c_str(), nullptr);
    if (end.status) {
        gst_structure_set(exited.get(), "status", G_TYPE_INT, *end.status, nullptr);
    }
    if (end.signal) {
        gst_structure_set(exited.get(), "signal", G_TYPE_INT, *end.signal, nullptr);
    }
    report(std::move(exited));
    std::string message = how;
    if (!window_seen_) {
        message +=
            std::format(" before {}", what == plan_.label ? "it showed a window"
                                                          : plan_.label + " showed a window");
        if (!last_window_.empty()) {
            message += std::format("; only {} was seen", last_window_);
        }
    } else if (!frame_seen_) {
        message += " before its first frame";
    }
    message += output_end();
    const bool early = !frame_seen_;
    return {early ? AttemptEnd::Kind::failed : AttemptEnd::Kind::ended,
            fail(Fault::gone, message).error(), debug_text()};
}

std::optional<AttemptEnd> LaunchAttempt::check_deadline() {
    const auto limit = milliseconds(settings_.timeout_ms);
    // In lock-step the capture has its own: the game waits for the consumer.
    const bool waiting = !window_seen_ && !(settings_.lockstep && captured_);
    if (!waiting || limit.count() == 0 || Clock::now() < progress_at_ + limit) {
        return std::nullopt;
    }
    return AttemptEnd{AttemptEnd::Kind::failed, timeout_error(), debug_text()};
}

Error LaunchAttempt::timeout_error() {
    const double seconds = settings_.timeout_ms / 1000.0;
    const std::string seen = last_window_.empty() ? std::string("no window at all was seen")
                                                  : std::format("only {} was seen", last_window_);
    const PlannedTitle* planned = plan_.client_title();
    if (planned == nullptr) {
        return fail(Fault::gone, std::format("{} runs but has shown no window within {:g} s{}",
                                             plan_.label, seconds, output_end()))
            .error();
    }
    if (title_seen_) {
        return fail(Fault::gone,
                    std::format("{} runs (pid {}, '{}') but has shown no window within {:g} s; {}",
                                plan_.label, processes_.game,
                                steam::printable(processes_.game_name), seconds, seen))
            .error();
    }
    if (steam::detect_client(planned->installation).logged_on == false) {
        return fail(Fault::permission,
                    std::format("the Steam client is not logged in after {:g} s; {}; start Steam "
                                "once, log in and let it remember the password",
                                seconds, seen))
            .error();
    }
    if (planned->title.state != steam::TitleState::installed) {
        return fail(Fault::busy, std::format("no progress within {:g} s: {}", seconds,
                                             steam::describe(planned->title)))
            .error();
    }
    if (!client_seen_) {
        return fail(Fault::gone, std::format("the Steam client did not come up within {:g} s; {}{}",
                                             seconds, seen, output_end()))
            .error();
    }
    return fail(Fault::gone,
                std::format("the Steam client (pid {}) runs but has not started {} within {:g} s; "
                            "{}{}",
                            processes_.client, plan_.label, seconds, seen, output_end()))
        .error();
}

/** The last words of what was started, for an error's text. */
std::string LaunchAttempt::output_end() const {
    constexpr size_t kLines = 3;
    const auto& tail = session_->tail();
    std::string text;
    size_t lines = 0;
    for (auto line = tail.rbegin(); line != tail.rend() && lines < kLines; ++line) {
        // Once it works, what the compositor says we say better.
        if (!line->empty() && !(ready_ && line->starts_with("stepscope: "))) {
            text.insert(0, steam::printable(*line) + (text.empty() ? "" : " | "));
            ++lines;
        }
    }
    return text.empty() ? std::string() : "; its output ends with: " + text;
}

std::string LaunchAttempt::debug_text() const {
    std::string text = "command: " + steam::join_words(plan_.launch.words);
    if (session_) {
        for (const std::string& line : session_->tail()) {
            text += "\n" + steam::printable(line);
        }
    }
    return text;
}

void LaunchAttempt::take_down(milliseconds grace) {
    if (!session_) {
        return;
    }
    session_->terminate();
    const auto deadline = Clock::now() + grace;
    while (!session_->ended() && Clock::now() < deadline) {
        wait(milliseconds(20));
        session_->dispatch();
    }
    session_.reset();
}

}  // namespace stepscope
