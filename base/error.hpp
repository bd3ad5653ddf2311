// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cerrno>
#include <expected>
#include <string>
#include <system_error>
#include <utility>

namespace stepscope {

/** What kind of thing went wrong; decides the GStreamer error and the exit status. */
enum class Fault {
    usage,        // the caller asked for something that can't be
    not_found,    // a session, file or device that isn't there
    busy,         // it is there and somebody else has it
    permission,   // it is there and we may not
    protocol,     // the peer broke the rules
    gone,         // the peer went away
    unsupported,  // this machine or build can't
    system,       // a system call failed
};

/**
 * One sentence for a person: what was expected, what came, what to do. `os_errno` is 0 where no
 * system call was involved; where one was, the text already ends with its meaning.
 */
struct Error {
    Fault fault = Fault::system;
    std::string message;
    int os_errno = 0;
};

template <typename T>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> fail(Fault fault, std::string message) {
    return std::unexpected(Error{fault, std::move(message), 0});
}

/** An error with errno's meaning appended. Call it before anything that may change errno. */
inline std::unexpected<Error> fail_errno(std::string message, int os_errno = errno) {
    Fault fault = Fault::system;
    if (os_errno == ENOENT) {
        fault = Fault::not_found;
    } else if (os_errno == EACCES || os_errno == EPERM) {
        fault = Fault::permission;
    } else if (os_errno == EADDRINUSE || os_errno == EBUSY) {
        fault = Fault::busy;
    }
    message += ": " + std::generic_category().message(os_errno);
    return std::unexpected(Error{fault, std::move(message), os_errno});
}

}  // namespace stepscope
