// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string>

#include "error.hpp"

namespace stepscope {

/** What kind of program a file is, as far as it decides whether the clock library can be in it. */
struct ExecutableInfo {
    enum class Kind {
        dynamic_elf,  // the library can be loaded
        static_elf,   // no dynamic loader: LD_PRELOAD has no effect
        go,           // dynamic or static, but with system calls of its own
        elf_32,       // a 32-bit program, and there is no library for those
        foreign,      // an ELF file for another machine
        setuid,       // the loader ignores LD_PRELOAD
        script,       // starts with #!; what matters is `interpreter`
        unknown,      // no ELF file and no script
    };
    Kind kind = Kind::unknown;
    std::string interpreter;  // ELF: the dynamic loader; script: the program
    std::string message;      // for a person; empty where the library can be loaded
    bool clock_works() const { return kind == Kind::dynamic_elf; }
};

/** Looks into the file; an error if it can't be read. Never runs it. `has_library_32` says whether
 * there is a clock library for 32-bit programs, too. */
Result<ExecutableInfo> inspect_executable(const std::string& path, bool has_library_32 = false);

}  // namespace stepscope
