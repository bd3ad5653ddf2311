// SPDX-License-Identifier: LGPL-2.1-or-later
/**
 * Stands in for the program that a Steam client starts each title under:
 *
 *   reaper SteamLaunch AppId=N -- COMMAND [ARGUMENTS]
 *
 * It is the subreaper of the title's processes and lives as long as one of them does.
 */
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

int main(int argc, char** argv) {
    int command = 1;
    while (command < argc && std::strcmp(argv[command], "--") != 0) {
        ++command;
    }
    if (++command >= argc) {
        std::fprintf(stderr, "reaper: expected SteamLaunch AppId=N -- COMMAND\n");
        return 2;
    }
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (::fork() == 0) {
        ::execvp(argv[command], argv + command);
        std::fprintf(stderr, "reaper: can't start %s: %s\n", argv[command], std::strerror(errno));
        ::_exit(127);
    }
    while (::wait(nullptr) > 0 || errno == EINTR) {
    }
    return 0;
}
