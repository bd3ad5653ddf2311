// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session_source.hpp"

#include <format>

namespace stepscope {
namespace {

/** How long a compositor may take to answer the first requests. */
constexpr std::chrono::seconds kConnectTimeout{5};
/** How long a stop waits for the compositor to read the last input. */
constexpr std::chrono::milliseconds kStopTimeout{500};

}  // namespace

Result<std::shared_ptr<SessionSource>> SessionSource::connect(const std::string& session,
                                                              const Settings& settings,
                                                              CaptureStats& stats) {
    auto control = ControlClient::connect(session, kConnectTimeout);
    if (!control) {
        return std::unexpected(control.error());
    }
    return std::shared_ptr<SessionSource>(new SessionSource(std::move(*control), settings, stats));
}

SessionSource::SessionSource(std::shared_ptr<ControlClient> control, const Settings& settings,
                             CaptureStats& stats)
    : control_(std::move(control)),
      stream_(control_, settings.cursor, settings.max_buffers, stats),
      input_(control_, settings.in_steps) {}

SessionSource::~SessionSource() {
    if (input_.end()) {
        // A compositor throws away what it has not read when a connection closes: let it read that
        // keys and buttons are up. If it does not answer, nothing can be done.
        static_cast<void>(control_->roundtrip(kStopTimeout));
    }
}

std::string SessionSource::name() const {
    return std::format("session '{}'", control_->name());
}

std::pair<uint32_t, uint32_t> SessionSource::size() const {
    const SessionState state = control_->state();
    return {state.width, state.height};
}

Result<void> SessionSource::resize(uint32_t width, uint32_t height) {
    control_->set_output_size(width, height);
    return {};
}

}  // namespace stepscope
