/* The head of a request that can be an opening handshake: `GET /path?query HTTP/1.1`, without a body, all of it there, all of it in order.
 *
 * Everything that this does not take, every error among it, is left to the strict reader in Python (edge/request.py), which stays the
 * authority: the result here is None, or what that reader finds in the same bytes. So its rules stand here only as far as they make a head
 * good, and where they are stricter here, as with bytes beyond ASCII, that costs a few microseconds and nothing else.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <string.h>

#include "_head.h"

#define MAX_LINE (8 * 1024)  /* bytes of the request line; edge/request.py has these numbers too */
#define MAX_HEAD (16 * 1024) /* bytes of the head, its last empty line included */
#define MAX_HEADERS 100
#define MAX_NAME 255      /* bytes of a host's name */
#define MAX_ADDRESS 45    /* bytes of an IPv6 address between its brackets */
#define LONGEST_PICKED 24 /* bytes of the longest name in PICKED */

/* The kinds of a byte, as bits. */
#define TOKEN 1   /* of a header's name (RFC 9110 5.6.2) */
#define PATH 2    /* of a path, percent-encoding left out */
#define QUERY 4   /* of a query */
#define VALUE 8   /* of a header's value, in ASCII */
#define HOST 16   /* of a host's name */
#define ADDRESS 32 /* of an IPv6 address */

static const uint8_t KINDS[256] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    8, 15, 12, 9, 15, 13, 15, 15, 14, 14, 15, 15, 14, 31, 63, 14,
    63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 46, 14, 12, 14, 12, 12,
    14, 63, 63, 63, 63, 63, 63, 31, 31, 31, 31, 31, 31, 31, 31, 31,
    31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 14, 12, 14, 15, 31,
    13, 63, 63, 63, 63, 63, 63, 31, 31, 31, 31, 31, 31, 31, 31, 31,
    31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 12, 15, 12, 31, 0,
};

#define IS(byte, kind) (KINDS[byte] & (kind))

/* The headers whose values are picked out, in lower case, and those of a body, which no opening handshake has. */
static const struct {
    const char *name;
    uint8_t length;
    uint8_t of_body;
} PICKED[] = {
    {"host", 4, 0},
    {"origin", 6, 0},
    {"upgrade", 7, 0},
    {"connection", 10, 0},
    {"content-length", 14, 1},
    {"transfer-encoding", 17, 1},
    {"sec-websocket-key", 17, 0},
    {"sec-websocket-version", 21, 0},
    {"sec-websocket-protocol", 22, 0},
    {"sec-websocket-extensions", 24, 0},
};
#define PICKED_HEADERS (int)(sizeof(PICKED) / sizeof(PICKED[0]))

/* The index in PICKED of a header's name, -1: it is not there. A token has no byte that `| 0x20` makes another one's. */
static int picked_name(const uint8_t *name, Py_ssize_t length)
{
    if (length > LONGEST_PICKED) return -1;
    for (int i = 0; i < PICKED_HEADERS; i++) {
        if (PICKED[i].length != length) continue;
        Py_ssize_t at = 0;
        while (at < length && (name[at] | 0x20) == (uint8_t)PICKED[i].name[at]) at++;
        if (at == length) return i;
    }
    return -1;
}

/* Whether these bytes are a host with an optional port. */
static int is_host(const uint8_t *at, const uint8_t *end)
{
    const uint8_t *begin = at;
    if (at < end && *at == '[') {
        begin = ++at;
        while (at < end && IS(*at, ADDRESS)) at++;
        if (at - begin < 2 || at - begin > MAX_ADDRESS || at == end || *at++ != ']') return 0;
    } else {
        while (at < end && IS(*at, HOST)) at++;
        if (at == begin || at - begin > MAX_NAME) return 0;
    }
    if (at == end) return 1;
    if (*at++ != ':' || end - at > 5) return 0;
    int port = 0;
    for (; at < end; at++) {
        if (*at < '0' || *at > '9') return 0;
        port = port * 10 + (*at - '0');
    }
    return port <= 65535;
}

/* Add the value of a header to `picked`, where each name has a list. -1 with an exception. */
static int pick(PyObject *picked, int which, const uint8_t *value, Py_ssize_t length)
{
    int result = -1;
    PyObject *name = PyBytes_FromStringAndSize(PICKED[which].name, PICKED[which].length);
    PyObject *text = PyUnicode_DecodeLatin1((const char *)value, length, NULL);
    PyObject *list = NULL;
    if (name == NULL || text == NULL) goto end;
    PyObject *earlier = PyDict_GetItemWithError(picked, name);
    if (earlier != NULL) {
        result = PyList_Append(earlier, text);
    } else if (!PyErr_Occurred() && (list = PyList_New(1)) != NULL) {
        PyList_SET_ITEM(list, 0, Py_NewRef(text));
        result = PyDict_SetItem(picked, name, list);
    }
end:
    Py_XDECREF(name);
    Py_XDECREF(text);
    Py_XDECREF(list);
    return result;
}

/* Read the header lines from `at` on into `picked`. The result is the end of the head, or NULL: without an exception, another reader has to
 * judge these bytes. */
static const uint8_t *read_headers(const uint8_t *at, const uint8_t *limit, PyObject *picked)
{
    int count = 0, hosts = 0;
    for (;;) {
        if (limit - at < 2) return NULL;
        if (at[0] == '\r') return at[1] == '\n' && hosts == 1 ? at + 2 : NULL;
        const uint8_t *name = at;
        while (at < limit && IS(*at, TOKEN)) at++;
        Py_ssize_t length = at - name;
        if (!length || at == limit || *at++ != ':') return NULL;
        const uint8_t *value = at;
        while (at < limit && IS(*at, VALUE)) at++;
        const uint8_t *end = at;
        if (limit - at < 2 || at[0] != '\r' || at[1] != '\n' || ++count > MAX_HEADERS) return NULL;
        at += 2;
        int which = picked_name(name, length);
        if (which < 0) continue;
        if (PICKED[which].of_body) return NULL;
        while (value < end && (*value == ' ' || *value == '\t')) value++;
        while (end > value && (end[-1] == ' ' || end[-1] == '\t')) end--;
        if (which == 0 && (++hosts > 1 || !is_host(value, end))) return NULL;
        if (pick(picked, which, value, end - value) < 0) return NULL;
    }
}

static PyObject *bytes_of(const uint8_t *begin, const uint8_t *end)
{
    return PyBytes_FromStringAndSize((const char *)begin, end - begin);
}

static PyObject *text_of(const uint8_t *begin, const uint8_t *end)
{
    return PyUnicode_DecodeLatin1((const char *)begin, end - begin, NULL);
}

PyObject *frames_head(PyObject *Py_UNUSED(module), PyObject *data)
{
    if (!PyBytes_Check(data)) {
        PyErr_Format(PyExc_TypeError, "data must be bytes, not %.100s", Py_TYPE(data)->tp_name);
        return NULL;
    }
    const uint8_t *start = (const uint8_t *)PyBytes_AS_STRING(data);
    Py_ssize_t size = PyBytes_GET_SIZE(data);
    const uint8_t *limit = start + (size < MAX_HEAD ? size : MAX_HEAD);
    static const char METHOD[] = "GET ", VERSION[] = " HTTP/1.1\r\n";
    const Py_ssize_t method = sizeof(METHOD) - 1, version = sizeof(VERSION) - 1;
    if (size <= method || memcmp(start, METHOD, method) || start[method] != '/') Py_RETURN_NONE;
    const uint8_t *target = start + method, *at = target;
    while (at < limit && IS(*at, PATH)) at++;
    const uint8_t *path_end = at, *query = at;
    if (at < limit && *at == '?') {
        query = ++at;
        while (at < limit && IS(*at, QUERY)) at++;
    }
    if (limit - at < version || memcmp(at, VERSION, version)) Py_RETURN_NONE;
    const uint8_t *target_end = at, *line_end = at + version - 2;
    if (line_end - start > MAX_LINE) Py_RETURN_NONE;

    PyObject *result = NULL, *picked = PyDict_New();
    if (picked == NULL) return NULL;
    const uint8_t *end = read_headers(line_end + 2, limit, picked);
    if (end == NULL) {
        if (!PyErr_Occurred()) result = Py_NewRef(Py_None);
    } else {
        PyObject *path = text_of(target, path_end);
        PyObject *whole = target_end == path_end ? Py_XNewRef(path) : text_of(target, target_end);
        result = PyTuple_New(7);
        if (result != NULL) {
            PyTuple_SET_ITEM(result, 0, PyLong_FromSsize_t(end - start));
            PyTuple_SET_ITEM(result, 1, whole);
            PyTuple_SET_ITEM(result, 2, path);
            PyTuple_SET_ITEM(result, 3, bytes_of(target, path_end));
            PyTuple_SET_ITEM(result, 4, bytes_of(query, target_end));
            PyTuple_SET_ITEM(result, 5, bytes_of(line_end, end - 2));
            PyTuple_SET_ITEM(result, 6, Py_NewRef(picked));
            for (int i = 0; i < 7; i++) {
                if (PyTuple_GET_ITEM(result, i) == NULL) {
                    Py_CLEAR(result);
                    break;
                }
            }
        } else {
            Py_XDECREF(path);
            Py_XDECREF(whole);
        }
    }
    Py_DECREF(picked);
    return result;
}
