// SPDX-License-Identifier: LGPL-2.1-or-later
#include "log.hpp"

#include <cstdio>

#include "wlr.hpp"

namespace stepscope {
namespace {

void print_wlroots(wlr_log_importance importance, const char* format, va_list arguments) {
    if (importance > wlr_log_get_verbosity()) {
        return;
    }
    static constexpr const char* kNames[] = {"", "error", "info", "debug"};
    std::fprintf(stderr, "stepscope: wlroots %s: ", kNames[importance & 3]);
    std::vfprintf(stderr, format, arguments);
    std::fputc('\n', stderr);
}

}  // namespace

void start_logging(bool verbose) {
    wlr_log_init(verbose ? WLR_DEBUG : WLR_ERROR, print_wlroots);
}

void log_line(std::string_view text) {
    std::fprintf(stderr, "stepscope: %.*s\n", static_cast<int>(text.size()), text.data());
}

}  // namespace stepscope
