// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/executable.hpp"

#include <elf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

using namespace stepscope;
using Kind = ExecutableInfo::Kind;

namespace {

struct File {
    std::filesystem::path path;
    explicit File(const std::string& content) {
        std::string pattern = std::filesystem::temp_directory_path() / "stepscope-test-XXXXXX";
        const int fd = ::mkstemp(pattern.data());
        ::close(fd);
        path = pattern;
        std::ofstream(path, std::ios::binary) << content;
    }
    ~File() { std::filesystem::remove(path); }
};

template <typename T>
std::string bytes(const T& value) {
    return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}

/** An ELF header of this machine, with the segments and section names asked for. */
std::string elf(bool interpreter, const char* section = nullptr) {
    std::ifstream self("/proc/self/exe", std::ios::binary);
    Elf64_Ehdr header{};
    self.read(reinterpret_cast<char*>(&header), sizeof header);
    header.e_phoff = sizeof header;
    header.e_phnum = 1;
    header.e_shoff = sizeof header + sizeof(Elf64_Phdr);
    header.e_shnum = 2;
    header.e_shstrndx = 1;
    const std::string names = std::string("\0", 1) + (section ? section : ".text") + '\0';
    Elf64_Phdr segment{};
    segment.p_type = interpreter ? PT_INTERP : PT_LOAD;
    segment.p_offset = header.e_shoff + 2 * sizeof(Elf64_Shdr) + names.size();
    segment.p_filesz = 8;
    Elf64_Shdr first{};
    first.sh_name = 1;
    Elf64_Shdr strings{};
    strings.sh_offset = header.e_shoff + 2 * sizeof(Elf64_Shdr);
    strings.sh_size = names.size();
    return bytes(header) + bytes(segment) + bytes(first) + bytes(strings) + names +
           std::string("/loader\0", 8);
}

ExecutableInfo inspect(const std::string& content, bool setuid = false) {
    const File file(content);
    if (setuid) {
        ::chmod(file.path.c_str(), 04700);
    }
    const auto info = inspect_executable(file.path);
    REQUIRE(info);
    CHECK(info->message.empty() == info->clock_works());
    return *info;
}

}  // namespace

TEST_CASE("programs that the clock library can be loaded into") {
    CHECK(inspect_executable("/proc/self/exe")->kind == Kind::dynamic_elf);
    const auto info = inspect(elf(true));
    CHECK(info.clock_works());
    CHECK(info.interpreter == "/loader");
}

TEST_CASE("programs that it can't be loaded into say why") {
    CHECK(inspect(elf(false)).kind == Kind::static_elf);
    CHECK(inspect(elf(false, ".gopclntab")).kind == Kind::go);
    CHECK(inspect(elf(true, ".go.buildinfo")).kind == Kind::go);
    CHECK(inspect(elf(true), true).kind == Kind::setuid);
    std::string small = elf(true);
    small[EI_CLASS] = ELFCLASS32;
    CHECK(inspect(small).kind == Kind::elf_32);
    std::string other = elf(true);
    other[18] = 0x2a;
    CHECK(inspect(other).kind == Kind::foreign);
    CHECK(inspect("hello").kind == Kind::unknown);
    CHECK(inspect("").kind == Kind::unknown);
}

TEST_CASE("scripts name their interpreter") {
    const auto info = inspect("#! /bin/sh -e\necho\n");
    CHECK(info.kind == Kind::script);
    CHECK(info.interpreter == "/bin/sh");
    CHECK(inspect("#!").kind == Kind::script);
}

TEST_CASE("files that end early or lie about their size are no programs that crash us") {
    const std::string whole = elf(true, ".go.buildinfo");
    for (size_t size = 0; size < whole.size(); ++size) {
        inspect(whole.substr(0, size));
    }
    for (size_t i = 0; i < sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr); ++i) {
        std::string broken = whole;
        broken[i] = static_cast<char>(0xff);
        inspect(broken);
    }
}

TEST_CASE("what is no file") {
    CHECK(inspect_executable("/nonexistent").error().fault == Fault::not_found);
    CHECK(inspect_executable("/").error().fault == Fault::usage);
}
