// SPDX-License-Identifier: LGPL-2.1-or-later
#include <xcb/xinput.h>

#include "x11_window.hpp"

namespace stepscope::testgame {

Result<std::unique_ptr<X11Display>> X11Display::connect() {
    int screen_number = 0;
    xcb_connection_t* connection = xcb_connect(nullptr, &screen_number);
    if (xcb_connection_has_error(connection) != 0) {
        xcb_disconnect(connection);
        return fail(Fault::gone, "can't connect to an X server; is DISPLAY set?");
    }
    auto screens = xcb_setup_roots_iterator(xcb_get_setup(connection));
    for (int i = 0; i < screen_number; ++i) {
        xcb_screen_next(&screens);
    }
    std::unique_ptr<X11Display> display(new X11Display(connection, screens.data));

    const XcbPtr<xcb_shm_query_version_reply_t> shm(
        xcb_shm_query_version_reply(connection, xcb_shm_query_version(connection), nullptr));
    if (!shm || shm->major_version < 1 || (shm->major_version == 1 && shm->minor_version < 2)) {
        return fail(Fault::unsupported, "the X server lacks MIT-SHM 1.2");
    }
    display->shm_event = xcb_get_extension_data(connection, &xcb_shm_id)->first_event;

    const auto* present = xcb_get_extension_data(connection, &xcb_present_id);
    if (present != nullptr && present->present != 0) {
        const XcbPtr<xcb_present_query_version_reply_t> version(xcb_present_query_version_reply(
            connection, xcb_present_query_version(connection, 1, 2), nullptr));
        display->present_opcode = version ? present->major_opcode : uint8_t{0};
    }
    // Like toolkits do: what makes a window and says what it is like then goes out in one piece.
    for (const char* name : {"_NET_WM_NAME", "UTF8_STRING", "_NET_WM_PID", "WM_DELETE_WINDOW",
                             "WM_PROTOCOLS", "_NET_WM_STATE", "_NET_WM_STATE_FULLSCREEN"}) {
        display->atom(name);
    }
    const auto* input = xcb_get_extension_data(connection, &xcb_input_id);
    if (input != nullptr && input->present != 0) {
        const XcbPtr<xcb_input_xi_query_version_reply_t> version(xcb_input_xi_query_version_reply(
            connection, xcb_input_xi_query_version(connection, 2, 2), nullptr));
        display->input_opcode =
            version && version->major_version >= 2 ? input->major_opcode : uint8_t{0};
    }
    return display;
}

xcb_atom_t X11Display::atom(std::string_view name) const {
    if (const auto known = atoms_.find(name); known != atoms_.end()) {
        return known->second;
    }
    const XcbPtr<xcb_intern_atom_reply_t> reply(xcb_intern_atom_reply(
        connection, xcb_intern_atom(connection, 0, static_cast<uint16_t>(name.size()), name.data()),
        nullptr));
    const xcb_atom_t atom = reply ? reply->atom : xcb_atom_t{XCB_ATOM_NONE};
    atoms_.emplace(name, atom);
    return atom;
}

xcb_visualid_t X11Display::find_visual(uint8_t depth) const {
    for (auto depths = xcb_screen_allowed_depths_iterator(screen); depths.rem > 0;
         xcb_depth_next(&depths)) {
        for (auto visuals = xcb_depth_visuals_iterator(depths.data); visuals.rem > 0;
             xcb_visualtype_next(&visuals)) {
            if (depths.data->depth == depth &&
                visuals.data->_class == XCB_VISUAL_CLASS_TRUE_COLOR) {
                return visuals.data->visual_id;
            }
        }
    }
    return screen->root_visual;
}

bool X11Display::has_window_manager() const {
    const XcbPtr<xcb_get_property_reply_t> reply(xcb_get_property_reply(
        connection,
        xcb_get_property(connection, 0, screen->root, atom("_NET_SUPPORTING_WM_CHECK"),
                         XCB_ATOM_WINDOW, 0, 1),
        nullptr));
    return reply && xcb_get_property_value_length(reply.get()) > 0;
}

Error X11Display::error() const {
    return {Fault::gone,
            "the X server closed the connection (xcb error " +
                std::to_string(xcb_connection_has_error(connection)) + ")",
            0};
}

}  // namespace stepscope::testgame
