// SPDX-License-Identifier: LGPL-2.1-or-later
#include "steam_launch_properties.hpp"

#include "gstwlscreencopysrc.h"

namespace stepscope {
namespace {

enum {
    PROP_0,
    PROP_APP_ID,
    PROP_TITLE,
    PROP_COMMAND,
    PROP_ARGS,
    PROP_ENV,
    PROP_WORKING_DIRECTORY,
    PROP_WIDTH,
    PROP_HEIGHT,
    PROP_CAPTURE,
    PROP_LAUNCH_METHOD,
    PROP_TIMEOUT,
    PROP_ON_EXIT,
    PROP_LOG_FILE,
    PROP_STRIP_OVERLAY,
    PROP_SANDBOX,
    PROP_SESSION,
    PROP_STEPSCOPE,
    PROP_FIRST_PASSED_ON,
};

/** The inner source's, in the order of their ids here. */
constexpr const char* kPassedOn[] = {"mode", "zero-copy", "cursor", "num-buffers", "stats"};

GType launch_method_type() {
    static const GType type = [] {
        static const GEnumValue values[] = {
            /**
             * GstSteamLaunchSrcLaunchMethod::auto:
             *
             * Since: 0.1
             */
            {static_cast<int>(LaunchMethod::automatic),
             "By a Steam client inside the session; directly where a client runs already", "auto"},
            /**
             * GstSteamLaunchSrcLaunchMethod::client:
             *
             * Since: 0.1
             */
            {static_cast<int>(LaunchMethod::client),
             "By a Steam client inside the session (steam -applaunch)", "client"},
            /**
             * GstSteamLaunchSrcLaunchMethod::uri:
             *
             * Since: 0.1
             */
            {static_cast<int>(LaunchMethod::uri),
             "By a Steam client inside the session (steam://rungameid/)", "uri"},
            /**
             * GstSteamLaunchSrcLaunchMethod::direct:
             *
             * Since: 0.1
             */
            {static_cast<int>(LaunchMethod::direct),
             "The title's own executable, with its runtime or Proton, without a client", "direct"},
            {0, nullptr, nullptr},
        };
        return g_enum_register_static("GstSteamLaunchSrcLaunchMethod", values);
    }();
    return type;
}

GType on_exit_type() {
    static const GType type = [] {
        static const GEnumValue values[] = {
            /**
             * GstSteamLaunchSrcOnExit::eos:
             *
             * Since: 0.1
             */
            {static_cast<int>(OnExit::eos), "End the stream", "eos"},
            /**
             * GstSteamLaunchSrcOnExit::error:
             *
             * Since: 0.1
             */
            {static_cast<int>(OnExit::error), "Fail, and say how it ended", "error"},
            /**
             * GstSteamLaunchSrcOnExit::restart:
             *
             * Since: 0.1
             */
            {static_cast<int>(OnExit::restart), "Start it again, in the same stream", "restart"},
            {0, nullptr, nullptr},
        };
        return g_enum_register_static("GstSteamLaunchSrcOnExit", values);
    }();
    return type;
}

GType capture_type() {
    static const GType type = [] {
        static const GEnumValue values[] = {
            /**
             * GstSteamLaunchSrcCapture::pull:
             *
             * Since: 0.1
             */
            {static_cast<int>(CaptureBy::pull), "From the compositor, by wlscreencopysrc", "pull"},
            /**
             * GstSteamLaunchSrcCapture::push:
             *
             * Since: 0.1
             */
            {static_cast<int>(CaptureBy::push), "By PipeWire, by pipewiresrc", "push"},
            {0, nullptr, nullptr},
        };
        return g_enum_register_static("GstSteamLaunchSrcCapture", values);
    }();
    return type;
}

constexpr auto kReady =
    static_cast<GParamFlags>(G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY);

void install_string(GObjectClass* object_class, guint id, const char* name, const char* nick,
                    const char* blurb) {
    g_object_class_install_property(object_class, id,
                                    g_param_spec_string(name, nick, blurb, nullptr, kReady));
}

void install_what(GObjectClass* object_class) {
    /**
     * GstSteamLaunchSrc:app-id:
     *
     * The title by its app id, or a non-Steam title by the id that `stepscope-games` shows.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        object_class, PROP_APP_ID,
        g_param_spec_uint64("app-id", "App id",
                            "Steam title to start, by its app id or 64-bit game id (0 = none)", 0,
                            G_MAXUINT64, 0, kReady));
    /**
     * GstSteamLaunchSrc:title:
     *
     * The title by its name, without regard to case, spaces and punctuation.
     *
     * Since: 0.1
     */
    install_string(object_class, PROP_TITLE, "title", "Title",
                   "Steam title to start, by its name; see stepscope-games (unset = none)");
    /**
     * GstSteamLaunchSrc:command:
     *
     * Anything that is not a Steam title, in words as in a shell; nothing is expanded.
     *
     * Since: 0.1
     */
    install_string(object_class, PROP_COMMAND, "command", "Command",
                   "Program to start instead of a Steam title, with its arguments, quoted as in a "
                   "shell (unset = none)");
    /**
     * GstSteamLaunchSrc:args:
     *
     * More arguments for the title or command, quoted as in a shell.
     *
     * Since: 0.1
     */
    install_string(object_class, PROP_ARGS, "args", "Arguments",
                   "More arguments for the title or command, quoted as in a shell (unset = none)");
    /**
     * GstSteamLaunchSrc:env:
     *
     * Changes to the environment of what is started: `NAME=value` sets, `-NAME` removes.
     *
     * Since: 0.1
     */
    install_string(object_class, PROP_ENV, "env", "Environment",
                   "Changes to the environment: NAME=value words, -NAME to remove one, quoted as "
                   "in a shell (unset = none)");
    /**
     * GstSteamLaunchSrc:working-directory:
     *
     * Where it is started. Unset: the folder that Steam uses for the title; the application's own
     * for a command.
     *
     * Since: 0.1
     */
    install_string(object_class, PROP_WORKING_DIRECTORY, "working-directory", "Working directory",
                   "Folder to start in (unset = the title's, for a command the application's)");
    /**
     * GstSteamLaunchSrc:launch-method:
     *
     * How a title is started. `auto` is `client` where no Steam client runs, else `direct`.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        object_class, PROP_LAUNCH_METHOD,
        g_param_spec_enum("launch-method", "Launch method", "How a Steam title is started",
                          launch_method_type(), static_cast<int>(LaunchMethod::automatic), kReady));
    /**
     * GstSteamLaunchSrc:strip-overlay:
     *
     * Keep Steam's overlay out of the title: its library is preloaded, draws over the picture, and
     * costs time. Where the client starts the title this needs bubblewrap.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        object_class, PROP_STRIP_OVERLAY,
        g_param_spec_boolean("strip-overlay", "Strip overlay",
                             "Keep the preloaded library of Steam's overlay out of the title",
                             FALSE, kReady));
}

void install_session(GObjectClass* object_class) {
    const LaunchSettings defaults;
    constexpr guint kMinSide = 16;
    constexpr guint kMaxSide = 16384;
    /**
     * GstSteamLaunchSrc:width:
     *
     * Width of the session's output. Caps downstream that fix a width go before.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        object_class, PROP_WIDTH,
        g_param_spec_uint("width", "Width",
                          "Width of the picture (pixels); fixed caps downstream go before",
                          kMinSide, kMaxSide, defaults.width, kReady));
    /**
     * GstSteamLaunchSrc:height:
     *
     * Height of the session's output. Caps downstream that fix a height go before.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        object_class, PROP_HEIGHT,
        g_param_spec_uint("height", "Height",
                          "Height of the picture (pixels); fixed caps downstream go before",
                          kMinSide, kMaxSide, defaults.height, kReady));
    /**
     * GstSteamLaunchSrc:capture:
     *
     * How pictures leave the session.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        object_class, PROP_CAPTURE,
        g_param_spec_enum("capture", "Capture", "How pictures leave the session", capture_type(),
                          static_cast<int>(CaptureBy::pull), kReady));
    /**
     * GstSteamLaunchSrc:timeout:
     *
     * How long nothing may happen until the title shows a window. Each stage, each progress of an
     * update, and the compilation of shaders start it again.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        object_class, PROP_TIMEOUT,
        g_param_spec_uint("timeout", "Timeout",
                          "Time without progress until a window must be there (milliseconds, 0 = "
                          "no limit)",
                          0, G_MAXINT, defaults.timeout_ms, kReady));
    /**
     * GstSteamLaunchSrc:on-exit:
     *
     * What to do when the title, the client that started it, or the launcher is gone. Before the
     * first frame it is an error in any case.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        object_class, PROP_ON_EXIT,
        g_param_spec_enum("on-exit", "On exit",
                          "What to do when the title ends after its first frame", on_exit_type(),
                          static_cast<int>(OnExit::eos), kReady));
    /**
     * GstSteamLaunchSrc:log-file:
     *
     * File that what was started prints into; it is appended to.
     *
     * Since: 0.1
     */
    install_string(object_class, PROP_LOG_FILE, "log-file", "Log file",
                   "File to append the output of title, client and compositor to (unset = none; "
                   "GST_DEBUG=steamlaunchsrc:5 shows it)");
    /**
     * GstSteamLaunchSrc:sandbox:
     *
     * Shut the title or command in by bubblewrap: the system is read-only, home and /tmp are empty
     * and forgotten, no other process and no other session is seen. The network stays. Not with a
     * Steam client inside, and not in lock-step.
     *
     * Since: 0.1
     */
    g_object_class_install_property(
        object_class, PROP_SANDBOX,
        g_param_spec_boolean("sandbox", "Sandbox",
                             "Shut it in by bubblewrap, without the user's files and processes",
                             FALSE, kReady));
    /**
     * GstSteamLaunchSrc:session:
     *
     * Name of the session that is started; other consumers find it by this. Unset: a name of its
     * own, which the message of the stage session-ready has.
     *
     * Since: 0.1
     */
    install_string(object_class, PROP_SESSION, "session", "Session",
                   "Name for the session, for other consumers (unset = one is made up)");
    /**
     * GstSteamLaunchSrc:stepscope:
     *
     * The compositor's program. Unset: $STEPSCOPE_PROGRAM, else the one beside this plugin, else
     * the one in PATH.
     *
     * Since: 0.1
     */
    install_string(object_class, PROP_STEPSCOPE, "stepscope", "Stepscope",
                   "Path of the program stepscope (unset = $STEPSCOPE_PROGRAM, beside this plugin, "
                   "or in PATH)");
}

void assign(std::string& target, const GValue* value) {
    const char* text = g_value_get_string(value);
    target = text != nullptr ? text : "";
}

void give(GValue* value, const std::string& text) {
    g_value_set_string(value, text.empty() ? nullptr : text.c_str());
}

/** The setting behind a property of type string; null for others. */
template <typename Settings>
auto string_of(Settings& settings, guint id) -> decltype(&settings.title) {
    switch (id) {
        case PROP_TITLE:
            return &settings.title;
        case PROP_COMMAND:
            return &settings.command;
        case PROP_ARGS:
            return &settings.args;
        case PROP_ENV:
            return &settings.env;
        case PROP_WORKING_DIRECTORY:
            return &settings.working_directory;
        case PROP_LOG_FILE:
            return &settings.log_file;
        case PROP_SESSION:
            return &settings.session;
        case PROP_STEPSCOPE:
            return &settings.program;
        default:
            return nullptr;
    }
}

}  // namespace

void install_launch_properties(GObjectClass* object_class) {
    install_what(object_class);
    install_session(object_class);
    auto* inner = static_cast<GObjectClass*>(g_type_class_ref(GST_TYPE_WL_SCREENCOPY_SRC));
    guint id = PROP_FIRST_PASSED_ON;
    for (const char* name : kPassedOn) {
        GParamSpec* theirs = g_object_class_find_property(inner, name);
        const char* nick = g_param_spec_get_nick(theirs);
        const char* blurb = g_param_spec_get_blurb(theirs);
        GParamSpec* ours = nullptr;
        // A copy of the inner source's: a GParamSpec belongs to one class.
        if (G_IS_PARAM_SPEC_ENUM(theirs)) {
            ours = g_param_spec_enum(name, nick, blurb, theirs->value_type,
                                     G_PARAM_SPEC_ENUM(theirs)->default_value, theirs->flags);
        } else if (G_IS_PARAM_SPEC_INT(theirs)) {
            const auto* range = G_PARAM_SPEC_INT(theirs);
            ours = g_param_spec_int(name, nick, blurb, range->minimum, range->maximum,
                                    range->default_value, theirs->flags);
        } else {
            ours = g_param_spec_boxed(name, nick, blurb, theirs->value_type, theirs->flags);
        }
        g_object_class_install_property(object_class, id++, ours);
    }
    g_type_class_unref(inner);
    for (GType type : {launch_method_type(), on_exit_type(), capture_type()}) {
        gst_type_mark_as_plugin_api(type, static_cast<GstPluginAPIFlags>(0));
    }
}

const char* passed_on_property(guint id) {
    return id >= PROP_FIRST_PASSED_ON && id < PROP_FIRST_PASSED_ON + G_N_ELEMENTS(kPassedOn)
               ? kPassedOn[id - PROP_FIRST_PASSED_ON]
               : nullptr;
}

bool set_launch_property(LaunchProperties& properties, guint id, const GValue* value) {
    LaunchSettings& settings = properties.settings;
    if (auto* text = string_of(settings, id)) {
        assign(*text, value);
        return true;
    }
    switch (id) {
        case PROP_APP_ID:
            settings.app_id = g_value_get_uint64(value);
            return true;
        case PROP_WIDTH:
            settings.width = g_value_get_uint(value);
            return true;
        case PROP_HEIGHT:
            settings.height = g_value_get_uint(value);
            return true;
        case PROP_CAPTURE:
            properties.capture = static_cast<CaptureBy>(g_value_get_enum(value));
            return true;
        case PROP_LAUNCH_METHOD:
            settings.method = static_cast<LaunchMethod>(g_value_get_enum(value));
            return true;
        case PROP_TIMEOUT:
            settings.timeout_ms = g_value_get_uint(value);
            return true;
        case PROP_ON_EXIT:
            settings.on_exit = static_cast<OnExit>(g_value_get_enum(value));
            return true;
        case PROP_STRIP_OVERLAY:
            settings.strip_overlay = g_value_get_boolean(value) != FALSE;
            return true;
        case PROP_SANDBOX:
            settings.sandbox = g_value_get_boolean(value) != FALSE;
            return true;
        default:
            return false;
    }
}

bool get_launch_property(const LaunchProperties& properties, guint id, GValue* value) {
    const LaunchSettings& settings = properties.settings;
    if (const auto* text = string_of(settings, id)) {
        give(value, *text);
        return true;
    }
    switch (id) {
        case PROP_APP_ID:
            g_value_set_uint64(value, settings.app_id);
            return true;
        case PROP_WIDTH:
            g_value_set_uint(value, settings.width);
            return true;
        case PROP_HEIGHT:
            g_value_set_uint(value, settings.height);
            return true;
        case PROP_CAPTURE:
            g_value_set_enum(value, static_cast<int>(properties.capture));
            return true;
        case PROP_LAUNCH_METHOD:
            g_value_set_enum(value, static_cast<int>(settings.method));
            return true;
        case PROP_TIMEOUT:
            g_value_set_uint(value, settings.timeout_ms);
            return true;
        case PROP_ON_EXIT:
            g_value_set_enum(value, static_cast<int>(settings.on_exit));
            return true;
        case PROP_STRIP_OVERLAY:
            g_value_set_boolean(value, settings.strip_overlay);
            return true;
        case PROP_SANDBOX:
            g_value_set_boolean(value, settings.sandbox);
            return true;
        default:
            return false;
    }
}

}  // namespace stepscope
