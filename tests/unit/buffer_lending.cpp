// SPDX-License-Identifier: LGPL-2.1-or-later
#include "compositor/buffer_lending.hpp"

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <memory>

using stepscope::BufferLending;
using Answer = stepscope::BufferLending::Answer;

namespace {

constexpr int64_t kMs = 1'000'000;

using Loop = stepscope::Handle<wl_event_loop, wl_event_loop_destroy>;

/** A surface and buffers with nothing to them but what lending looks at. */
struct Game {
    explicit Game(size_t count) : buffers(count) {
        wl_signal_init(&surface.events.destroy);
        static const wlr_buffer_impl impl{
            .destroy = wlr_buffer_finish,
            .get_dmabuf = nullptr,
            .get_shm = nullptr,
            .begin_data_ptr_access = nullptr,
            .end_data_ptr_access = nullptr,
        };
        for (auto& buffer : buffers) {
            buffer = std::make_unique<wlr_buffer>();
            wlr_buffer_init(buffer.get(), &impl, 64, 64);
        }
    }
    Game(const Game&) = delete;
    Game& operator=(const Game&) = delete;
    ~Game() {
        for (auto& buffer : buffers) {
            wlr_buffer_drop(buffer.get());
        }
    }
    wlr_buffer* operator[](size_t index) { return buffers[index].get(); }

    /** The game shows a buffer; it is lent where that is allowed. */
    Answer show(BufferLending& lending, size_t index, int64_t now_ns) {
        wlr_buffer* buffer = (*this)[index];
        lending.note_commit(&surface, buffer);
        const Answer answer = lending.may_lend(buffer);
        if (answer == Answer::lend) {
            lending.lend(buffer);
        } else {
            lending.note_refused(buffer);
        }
        lending.note_delivered(&surface, answer == Answer::lend ? buffer : nullptr, now_ns);
        return answer;
    }

    wlr_surface surface{};
    std::vector<std::unique_ptr<wlr_buffer>> buffers;
};

/** The game has shown all its buffers once, and got them back before the next. */
void introduce(BufferLending& lending, Game& game) {
    for (size_t i = 0; i < game.buffers.size(); ++i) {
        lending.note_commit(&game.surface, game[i]);
    }
}

}  // namespace

TEST_CASE("of three buffers two are lent, and the game gets the third one back") {
    Game game(3);
    const Loop loop(wl_event_loop_create());
    BufferLending lending(loop.get());
    introduce(lending, game);
    CHECK(game.show(lending, 0, 0) == Answer::lend);
    CHECK(game.show(lending, 1, 16 * kMs) == Answer::lend);
    CHECK_FALSE(lending.game_is_out(&game.surface, game[1]));  // the third is free
    CHECK(game.show(lending, 2, 32 * kMs) == Answer::wait);
    CHECK(lending.game_is_out(&game.surface, game[2]));
    CHECK(lending.lent() == 2);
}

TEST_CASE("a sink that keeps its last picture gets every picture of three buffers") {
    Game game(3);
    const Loop loop(wl_event_loop_create());
    BufferLending lending(loop.get());
    introduce(lending, game);
    for (int64_t frame = 0; frame < 100; ++frame) {
        const auto index = static_cast<size_t>(frame % 3);
        CHECK(game.show(lending, index, frame * 16 * kMs) == Answer::lend);
        lending.give_back(game[(index + 2) % 3], frame * 16 * kMs + kMs);
    }
}

TEST_CASE("a game that makes its third buffer on demand is brought to do so") {
    Game game(3);
    const Loop loop(wl_event_loop_create());
    BufferLending lending(loop.get());
    // Two buffers in turn, as long as they come back.
    CHECK(game.show(lending, 0, 0) == Answer::lend);
    lending.give_back(game[0], 10 * kMs);
    CHECK(game.show(lending, 1, 16 * kMs) == Answer::lend);
    // The sink keeps the last: now both are kept, and the game has to show what else it has.
    CHECK(game.show(lending, 0, 32 * kMs) == Answer::wait);
    lending.give_back(game[1], 33 * kMs);
    CHECK(game[0]->n_locks == 1);
    CHECK(game[1]->n_locks == 1);
    CHECK(game.show(lending, 2, 48 * kMs) == Answer::lend);
    CHECK(game[0]->n_locks == 0);
    CHECK(game[1]->n_locks == 0);
    CHECK(game.show(lending, 1, 64 * kMs) == Answer::lend);
}

TEST_CASE("a game of two buffers gets them back after the probe, and is not probed again") {
    Game game(2);
    const Loop loop(wl_event_loop_create());
    BufferLending lending(loop.get());
    bool done = false;
    lending.set_probe_done([&] { done = true; });
    introduce(lending, game);
    CHECK(game.show(lending, 0, 0) == Answer::lend);
    CHECK(game.show(lending, 1, 16 * kMs) == Answer::wait);
    CHECK(game[1]->n_locks == 1);
    CHECK_FALSE(lending.game_is_out(&game.surface, game[1]));
    while (!done) {
        REQUIRE(wl_event_loop_dispatch(loop.get(), 1000) == 0);
    }
    CHECK(game[1]->n_locks == 0);
    CHECK(lending.game_is_out(&game.surface, game[1]));
    CHECK(game.show(lending, 1, 200 * kMs) == Answer::wait);
    CHECK(game[1]->n_locks == 0);
}

TEST_CASE("a late consumer is not waited for, and the game of two buffers keeps one") {
    Game game(2);
    const Loop loop(wl_event_loop_create());
    BufferLending lending(loop.get());
    introduce(lending, game);
    CHECK(game.show(lending, 0, 0) == Answer::lend);
    CHECK(game.show(lending, 1, 16 * kMs) == Answer::wait);
    lending.give_back(game[0], 500 * kMs);
    CHECK(game.show(lending, 0, 516 * kMs) == Answer::lend);
    CHECK(game.show(lending, 1, 532 * kMs) == Answer::copy);
    CHECK(lending.lent() == 1);
    // Until it was prompt for a while.
    lending.give_back(game[0], 533 * kMs);
    int64_t now = 600 * kMs;
    for (int i = 0; i < 300; ++i) {
        CHECK(game.show(lending, static_cast<size_t>(i % 2), now) == Answer::lend);
        lending.give_back(game[static_cast<size_t>(i % 2)], now + kMs);
        now += 16 * kMs;
    }
    CHECK(game.show(lending, 0, now) == Answer::lend);
    CHECK(game.show(lending, 1, now + 16 * kMs) == Answer::wait);
}

TEST_CASE("a buffer that is lent may be lent again, and counts once") {
    Game game(3);
    const Loop loop(wl_event_loop_create());
    BufferLending lending(loop.get());
    introduce(lending, game);
    CHECK(game.show(lending, 0, 0) == Answer::lend);
    CHECK(game.show(lending, 0, kMs) == Answer::lend);
    CHECK(lending.lent() == 1);
    lending.give_back(game[0], 2 * kMs);
    CHECK(lending.lent() == 1);
    lending.give_back(game[0], 3 * kMs);
    CHECK(lending.lent() == 0);
    lending.give_back(game[0], 4 * kMs);  // once too often: ignored
    CHECK(lending.lent() == 0);
}

TEST_CASE("surfaces and buffers may go in any order") {
    const Loop loop(wl_event_loop_create());
    BufferLending lending(loop.get());
    {
        Game game(3);
        introduce(lending, game);
        CHECK(game.show(lending, 0, 0) == Answer::lend);
        wl_signal_emit_mutable(&game.surface.events.destroy, nullptr);
        lending.give_back(game[0], kMs);
        CHECK(lending.lent() == 0);
    }
    CHECK(lending.lent() == 0);
}
