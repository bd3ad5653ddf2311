// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <format>
#include <string>
#include <string_view>

namespace stepscope {

/** Sends wlroots' messages to stderr: errors alone, or with `verbose` all of them. */
void start_logging(bool verbose);

/** One line to stderr, marked with the program's name. */
void log_line(std::string_view text);

template <typename... Args>
void log(std::format_string<Args...> format, Args&&... args) {
    log_line(std::format(format, std::forward<Args>(args)...));
}

}  // namespace stepscope
