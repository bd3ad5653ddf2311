// SPDX-License-Identifier: LGPL-2.1-or-later
#include "steam/near_match.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>

#include "steam/unicode.hpp"

using namespace stepscope::steam;

TEST_CASE("names are compared by their letters and digits") {
    CHECK(comparable_name("Half-Life® 2: Episode One™") == U"halflife2episodeone");
    CHECK(comparable_name("  ÄÖÜ éÉ ") == U"äöüéé");
    CHECK(comparable_name("МИР") == U"мир");
    CHECK(comparable_name("– 菓子 &") == U"菓子");
    CHECK(comparable_name("\xff\xfe™!").empty());
}

TEST_CASE("edit distance") {
    CHECK(edit_distance(U"", U"") == 0);
    CHECK(edit_distance(U"abc", U"") == 3);
    CHECK(edit_distance(U"", U"abc") == 3);
    CHECK(edit_distance(U"portal", U"portal") == 0);
    CHECK(edit_distance(U"portal", U"protal") == 1);  // a swap
    CHECK(edit_distance(U"kitten", U"sitting") == 3);
}

TEST_CASE("near matches, best first") {
    const std::vector<std::string> names = {"Portal 2",  "Portal", "Half-Life 2",        "Hades",
                                            "Half-Life", "Dota 2", "Portal Stories: Mel"};
    struct Row {
        const char* typed;
        std::vector<std::string> expected;
    };
    auto row = GENERATE(values<Row>({
        {"portel", {"Portal", "Portal 2", "Portal Stories: Mel"}},
        {"PROTAL 2", {"Portal 2", "Portal"}},
        {"half life", {"Half-Life", "Half-Life 2"}},
        {"hadess", {"Hades"}},
        {"stories", {"Portal Stories: Mel"}},
        {"dota2", {"Dota 2"}},
        {"Portal 2 Deluxe Edition", {"Portal 2", "Portal"}},
        {"zzzzzzzz", {}},
        {"", {}},
        {"™", {}},
    }));
    CAPTURE(row.typed);
    std::vector<std::string> found;
    for (size_t index : near_matches(row.typed, names, 3)) {
        found.push_back(names[index]);
    }
    CHECK(found == row.expected);
}

TEST_CASE("what a terminal shows can't steer it") {
    CHECK(printable("a\x1b[2Jb\n") == "a\ufffd[2Jb\ufffd");
    CHECK(printable("a\u202eb\u200b") == "a\ufffdb\ufffd");
    CHECK(printable("\xc0\x80 \xed\xa0\x80 \xf8") == "\ufffd\ufffd \ufffd\ufffd\ufffd \ufffd");
    CHECK(printable("Größe – 菓子 😀") == "Größe – 菓子 😀");
    CHECK(code_points("\xf4\x90\x80\x80").size() == 4);  // beyond Unicode
    CHECK(code_points("\xe8\x8f") == U"\xfffd\xfffd");
}
