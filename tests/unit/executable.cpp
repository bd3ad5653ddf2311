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

struct Elf64 {
    using Header = Elf64_Ehdr;
    using Segment = Elf64_Phdr;
    using Section = Elf64_Shdr;
};

struct Elf32 {
    using Header = Elf32_Ehdr;
    using Segment = Elf32_Phdr;
    using Section = Elf32_Shdr;
};

/** An ELF file of this machine, with the segments and section names asked for. */
template <typename Elf = Elf64>
std::string elf(bool interpreter, const char* section = nullptr, unsigned machine = 0) {
    std::ifstream self("/proc/self/exe", std::ios::binary);
    Elf64_Ehdr own{};
    self.read(reinterpret_cast<char*>(&own), sizeof own);
    typename Elf::Header header{};
    std::memcpy(header.e_ident, own.e_ident, sizeof header.e_ident);
    header.e_ident[EI_CLASS] = sizeof header == sizeof own ? ELFCLASS64 : ELFCLASS32;
    header.e_machine = static_cast<decltype(header.e_machine)>(machine ? machine : own.e_machine);
    header.e_phentsize = sizeof(typename Elf::Segment);
    header.e_shentsize = sizeof(typename Elf::Section);
    header.e_phoff = sizeof header;
    header.e_phnum = 1;
    header.e_shoff = sizeof header + sizeof(typename Elf::Segment);
    header.e_shnum = 2;
    header.e_shstrndx = 1;
    const std::string names = std::string("\0", 1) + (section ? section : ".text") + '\0';
    typename Elf::Segment segment{};
    typename Elf::Section first{};
    typename Elf::Section strings{};
    const auto after = static_cast<uint32_t>(header.e_shoff + 2 * sizeof first);
    segment.p_type = interpreter ? PT_INTERP : PT_LOAD;
    segment.p_offset = after + static_cast<uint32_t>(names.size());
    segment.p_filesz = 8;
    first.sh_name = 1;
    strings.sh_offset = after;
    strings.sh_size = static_cast<uint32_t>(names.size());
    return bytes(header) + bytes(segment) + bytes(first) + bytes(strings) + names +
           std::string("/loader\0", 8);
}

ExecutableInfo inspect(const std::string& content, bool setuid = false, bool library_32 = false) {
    const File file(content);
    if (setuid) {
        ::chmod(file.path.c_str(), 04700);
    }
    const auto info = inspect_executable(file.path, library_32);
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
    std::string other = elf(true);
    other[18] = 0x2a;
    CHECK(inspect(other).kind == Kind::foreign);
    CHECK(inspect("hello").kind == Kind::unknown);
    CHECK(inspect("").kind == Kind::unknown);
}

#if defined(__x86_64__)
TEST_CASE("32-bit programs need a library of their own") {
    const std::string small = elf<Elf32>(true, nullptr, EM_386);
    const auto without = inspect(small);
    CHECK(without.kind == Kind::elf_32);
    CHECK(without.message.find("g++-multilib") != std::string::npos);
    const auto with = inspect(small, false, true);
    CHECK(with.clock_works());
    CHECK(with.interpreter == "/loader");
    CHECK(inspect(elf<Elf32>(false, nullptr, EM_386), false, true).kind == Kind::static_elf);
    CHECK(inspect(elf<Elf32>(true, ".gopclntab", EM_386), false, true).kind == Kind::go);
    CHECK(inspect(small, true, true).kind == Kind::setuid);
    // x32: 32-bit words, but the 64-bit instruction set.
    CHECK(inspect(elf<Elf32>(true), false, true).kind == Kind::foreign);
}
#endif

TEST_CASE("scripts name their interpreter") {
    const auto info = inspect("#! /bin/sh -e\necho\n");
    CHECK(info.kind == Kind::script);
    CHECK(info.interpreter == "/bin/sh");
    CHECK(inspect("#!").kind == Kind::script);
}

TEST_CASE("files that end early or lie about their size are no programs that crash us") {
    const std::string small = elf<Elf32>(true, ".go.buildinfo", EM_386);
    for (size_t size = 0; size < small.size(); ++size) {
        inspect(small.substr(0, size), false, true);
    }
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
