// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <stepscope-agent.h>
#include <sys/types.h>

#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace stepscope::testing {

/** True once the condition holds; false after two minutes. */
bool wait_until(const std::function<bool()>& condition);

/** A program, killed with this object unless it has ended. */
class Process {
public:
    explicit Process(std::vector<std::string> words);
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;
    ~Process();

    void end(int signal);

private:
    pid_t pid_ = -1;
};

/** A session with gamepads. */
class PadSession {
public:
    /** "REPORT" in the game's command becomes the path of the file that events() reads. */
    PadSession(std::vector<std::string> options, const std::vector<std::string>& game);
    ~PadSession();
    PadSession(const PadSession&) = delete;
    PadSession& operator=(const PadSession&) = delete;

    void end(int signal) { process_->end(signal); }
    const std::string& name() const { return name_; }
    /** Device files, in the order in which they were made. */
    const std::vector<std::string>& pads() const { return pads_; }
    std::string socket() const { return directory_ + "/frames"; }
    bool pads_are_gone() const;

    /** The pad events that the game has reported so far, each with its number among all inputs. */
    const std::vector<nlohmann::json>& events();
    /** How many of them came before this input or are it. */
    size_t events_until(uint32_t input);

private:
    std::string report_file() const { return directory_ + "/report"; }

    std::string directory_;
    std::string name_;
    std::vector<std::string> pads_;
    std::optional<Process> process_;
    std::ifstream report_;
    std::vector<nlohmann::json> events_;
};

/** An agent that steps a session through a pipeline in a process of its own. */
class Agent {
public:
    explicit Agent(const PadSession& session);
    Agent(const Agent&) = delete;
    Agent& operator=(const Agent&) = delete;
    ~Agent();

    stepscope_agent* get() { return agent_; }
    void kill_pipeline();

    /** Takes a step. Returns the number of the last input in its picture. */
    uint32_t step();

    const std::vector<std::string>& refusals() const { return refusals_; }
    /** Of the newest picture, a number that is another one for others. */
    size_t picture() const { return picture_; }

private:
    uint32_t take_frame(uint64_t sequence);

    Process pipeline_;
    stepscope_agent* agent_ = nullptr;
    std::map<uint32_t, stepscope_agent_slot> slots_;
    std::vector<std::string> refusals_;
    size_t picture_ = 0;
};

}  // namespace stepscope::testing
