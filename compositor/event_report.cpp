// SPDX-License-Identifier: LGPL-2.1-or-later
#include "event_report.hpp"

#include <fcntl.h>

namespace stepscope {
namespace {

const char* name_of(GameEnd::How how) {
    switch (how) {
        case GameEnd::How::exited:
            return "exited";
        case GameEnd::How::signaled:
            return "signaled";
        case GameEnd::How::not_started:
            return "not-started";
    }
    return "";
}

}  // namespace

EventReport::EventReport(UniqueFd fd) : fd_(std::move(fd)) {
    if (fd_) {
        ::fcntl(fd_.get(), F_SETFD, FD_CLOEXEC);
        ::fcntl(fd_.get(), F_SETFL, ::fcntl(fd_.get(), F_GETFL) | O_NONBLOCK);
    }
}

void EventReport::started(pid_t game, pid_t reaper) const {
    write({{"event", "started"}, {"pid", game}, {"reaper", reaper}});
}

void EventReport::window(const View* view) const {
    if (view == nullptr) {
        write({{"event", "no-window"}});
        return;
    }
    write({{"event", "window"},
           {"title", view->title()},
           {"app-id", view->app_id()},
           {"backend", view->backend()},
           {"pid", view->pid()}});
}

void EventReport::ended(const GameEnd& end) const {
    write({{"event", "ended"}, {"how", name_of(end.how)}, {"value", end.value}});
}

void EventReport::write(const nlohmann::json& event) const {
    if (!fd_) {
        return;
    }
    // Titles are whatever a game makes of them, also broken UTF-8.
    const std::string line =
        event.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    (void)!::write(fd_.get(), line.data(), line.size());
}

}  // namespace stepscope
