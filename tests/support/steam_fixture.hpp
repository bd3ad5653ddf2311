// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "base/unique_fd.hpp"
#include "steam/installation.hpp"

namespace stepscope::test {

/**
 * A copy of tests/fixtures/steam in a temporary directory, with its placeholders replaced, removed
 * at the end. Its paths have spaces and Unicode in them.
 */
class SteamFixture {
public:
    SteamFixture();
    ~SteamFixture();
    SteamFixture(const SteamFixture&) = delete;
    SteamFixture& operator=(const SteamFixture&) = delete;

    std::string base;     // all of the rest is below it
    std::string home;     // with .steam/ as a native client makes it
    std::string root;     // home/.local/share/Steam
    std::string disk;     // the second library
    std::string missing;  // isn't there
    std::string old;      // an old installation
    std::string proc;     // an empty /proc

    /** Looks at nothing outside the fixture. */
    steam::SteamEnvironment environment() const;

    void write(const std::string& path, std::string_view content) const;

    /** A process in `proc`; arguments are separated by spaces here. */
    void add_process(pid_t pid, const std::string& name, std::string arguments) const;

    /** Makes the client's FIFO and reads from it while the result lives. */
    UniqueFd listen_as_client() const;
};

}  // namespace stepscope::test
