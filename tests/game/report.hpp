// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/error.hpp"
#include "base/unique_fd.hpp"

namespace stepscope::testgame {

/**
 * One JSON object a line, each written with one write(2), so that a test may read while the game
 * runs. Every line has "event" and "time_ns" (CLOCK_MONOTONIC). Without a file nothing is written.
 */
class Report {
public:
    /** Appends to `path`; an empty path makes a report that goes nowhere. */
    static Result<Report> open(const std::string& path);

    /** Ask before building something costly. */
    bool enabled() const { return static_cast<bool>(file_); }
    void write(const char* event, nlohmann::json fields);
    void write(const char* event);

private:
    UniqueFd file_;
};

}  // namespace stepscope::testgame
