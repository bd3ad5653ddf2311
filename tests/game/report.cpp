// SPDX-License-Identifier: LGPL-2.1-or-later
#include "report.hpp"

#include <fcntl.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <utility>

namespace stepscope::testgame {

Result<Report> Report::open(const std::string& path) {
    Report report;
    if (path.empty()) {
        return report;
    }
    report.file_ = UniqueFd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    if (!report.file_) {
        return fail_errno("can't write the report '" + path + "'");
    }
    return report;
}

void Report::write(const char* event, nlohmann::json fields) {
    if (!file_) {
        return;
    }
    fields["event"] = event;
    fields["time_ns"] =
        std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
    const std::string line =
        fields.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    // A short write would need a full disk; the reader then sees a broken line, which is right.
    if (::write(file_.get(), line.data(), line.size()) < 0) {
        file_.reset();
    }
}

void Report::write(const char* event) {
    write(event, nlohmann::json::object());
}

}  // namespace stepscope::testgame
