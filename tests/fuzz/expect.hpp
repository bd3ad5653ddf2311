// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdlib>

/** What has to hold whatever the input is: a fuzzer sees that the program was ended. */
inline void expect(bool holds) {
    if (!holds) {
        std::abort();
    }
}
