// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <memory>

#include "control_client.hpp"
#include "game_input.hpp"
#include "picture_source.hpp"

namespace stepscope {

/** The pictures of a Stepscope session, over its control display. */
class SessionSource final : public PictureSource {
public:
    struct Settings {
        CursorMode cursor = CursorMode::hidden;
        uint32_t max_buffers = 4;
        bool in_steps = false;  // input waits for the next step
    };

    /** Connects; an empty name is the only session that runs. `stats` must outlive the source. */
    static Result<std::shared_ptr<SessionSource>> connect(const std::string& session,
                                                          const Settings& settings,
                                                          CaptureStats& stats);
    ~SessionSource() override;

    void start() override { stream_.start(); }
    Result<void> wait(std::optional<Clock::time_point> deadline) override {
        return control_->wait(deadline);
    }
    void wake() const override { control_->wake(); }
    std::optional<CapturedFrame> take_oldest() override { return stream_.take_oldest(); }
    std::optional<CapturedFrame> take_newest() override { return stream_.take_newest(); }
    void keep_newest() override { stream_.keep_newest(); }
    void add_credit() override { stream_.add_credit(); }
    void set_cursor(CursorMode mode) override { stream_.set_cursor(mode); }
    void set_formats(const std::vector<DrmFormat>& readable) override {
        stream_.set_formats(readable);
    }
    std::string device() const override { return control_->state().device; }
    std::string name() const override;
    std::pair<uint32_t, uint32_t> size() const override;
    RefreshRate refresh() const override { return control_->refresh(); }
    std::optional<SessionEnd> end() const override { return control_->end(); }
    Result<void> resize(uint32_t width, uint32_t height) override;
    Result<void> inject(InputActions actions, uint32_t width, uint32_t height) override {
        return input_.take(std::move(actions), width, height);
    }

    // What only a session has, for lock-step:
    const std::shared_ptr<ControlClient>& control() const { return control_; }
    CaptureStream& stream() { return stream_; }
    GameInput& input() { return input_; }

private:
    SessionSource(std::shared_ptr<ControlClient> control, const Settings& settings,
                  CaptureStats& stats);

    const std::shared_ptr<ControlClient> control_;
    CaptureStream stream_;
    GameInput input_;
};

}  // namespace stepscope
