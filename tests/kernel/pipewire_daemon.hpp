// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <sys/types.h>

#include <string>

namespace stepscope::testing {

/**
 * A PipeWire daemon without hardware, D-Bus and session manager, in a runtime directory of its own,
 * which the rest of the test uses, too. The test is skipped where PipeWire is not installed.
 */
class PipewireDaemon {
public:
    PipewireDaemon();
    PipewireDaemon(const PipewireDaemon&) = delete;
    PipewireDaemon& operator=(const PipewireDaemon&) = delete;
    ~PipewireDaemon();

private:
    std::string directory_;
    pid_t pid_ = -1;
};

}  // namespace stepscope::testing
