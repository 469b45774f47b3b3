/* The hot loop of the receive side: whole, plain, valid frames (RFC 6455 section 5) and nothing else. A client's frames are masked and a
 * server's are not: each function for one kind has a sister for the other, compiled from the same code with `masked` as a constant.
 *
 * Everything that this module does not take is left to Autobahn's parser, which stays the authority on errors.
 * twin.py has the same functions with the same results. Change both together, and raise INTERFACE in both
 * when a signature or a result changes, so that a stale build is noticed.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include "_head.h"

#define INTERFACE 6

#define FLAG_RSV1 1 /* permessage-deflate was agreed: RSV1 on a data frame is fine */
#define FLAG_TEXT 2 /* text payloads become str */
#define ALL_FLAGS (FLAG_RSV1 | FLAG_TEXT)

#define OPCODE_TEXT 1
#define OPCODE_BINARY 2
#define OPCODE_PING 9
#define OPCODE_PONG 10
#define COMPRESSED 0x40 /* added to the opcode of a frame that came with RSV1 */

#define LONGEST_CONTROL 125
#define LONGEST_HEADER 14
#define SLACK(maximum) ((maximum) / 8 + 64) /* by how much more a compressed payload may be longer; twin.py says why */
#define MASK 4
#define HIGH_BITS UINT64_C(0x8080808080808080)

#if defined(__GNUC__)
#define SPECIALISED static inline __attribute__((always_inline)) /* one copy for each constant `masked` */
#else
#define SPECIALISED static inline
#endif

#define FAST(function) (PyCFunction)(void (*)(void))function /* the type that a PyMethodDef needs */

#ifndef MSG_NOSIGNAL /* macOS: Python ignores SIGPIPE anyway */
#define MSG_NOSIGNAL 0
#endif

/* ---- arguments ---- */

static int out_of_range(const char *name)
{
    PyErr_Format(PyExc_ValueError, "%s is out of range", name);
    return -1;
}

/* An int from 0 to `most`. */
static int as_size(PyObject *object, const char *name, Py_ssize_t most, Py_ssize_t *result)
{
    if (!PyLong_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s must be an int, not %.100s", name, Py_TYPE(object)->tp_name);
        return -1;
    }
    *result = PyLong_AsSsize_t(object);
    if (*result == -1 && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_OverflowError)) return -1;
        PyErr_Clear();
    }
    return *result < 0 || *result > most ? out_of_range(name) : 0;
}

static int check_count(const char *name, Py_ssize_t given, Py_ssize_t expected)
{
    if (given != expected) {
        PyErr_Format(PyExc_TypeError, "%s() takes %zd positional arguments, %zd given", name, expected, given);
        return -1;
    }
    return 0;
}

static int check_bytes(PyObject *object, const char *name)
{
    if (!PyBytes_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s must be bytes, not %.100s", name, Py_TYPE(object)->tp_name);
        return -1;
    }
    return 0;
}

/* The bytes of data[position:] for the two arguments (data, position). */
static int as_input(PyObject *data, PyObject *position, const uint8_t **start, Py_ssize_t *offset, Py_ssize_t *available)
{
    if (check_bytes(data, "data") < 0 || as_size(position, "position", PyBytes_GET_SIZE(data), offset) < 0) return -1;
    *start = (const uint8_t *)PyBytes_AS_STRING(data) + *offset;
    *available = PyBytes_GET_SIZE(data) - *offset;
    return 0;
}

/* ---- masks and UTF-8 ---- */

static inline uint64_t mask_word(const uint8_t *mask, Py_ssize_t phase)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++) bytes[i] = mask[(phase + i) & 3];
    uint64_t word;
    memcpy(&word, bytes, 8);
    return word;
}

/* XOR `count` bytes with the mask; `to` may be `from`. The result is the OR of all bytes written: no HIGH_BITS, all ASCII. */
static inline uint64_t unmask(uint8_t *to, const uint8_t *from, Py_ssize_t count, uint64_t word)
{
    uint64_t any = 0;
    Py_ssize_t i = 0;
    for (; count - i >= 8; i += 8) {
        uint64_t part;
        memcpy(&part, from + i, 8);
        part ^= word;
        any |= part;
        memcpy(to + i, &part, 8);
    }
    uint8_t tail[8];
    memcpy(tail, &word, 8);
    for (int k = 0; i < count; i++, k++) {
        to[i] = from[i] ^ tail[k];
        any |= to[i];
    }
    return any;
}

enum { SEQUENCE_BAD = 0, SEQUENCE_CUT = -1 };

/* The length of the UTF-8 sequence at `at` (RFC 3629: 2 to 4, `at` is not ASCII), or why there is none: CUT when `left` bytes
 * are a good beginning. */
static inline int sequence(const uint8_t *at, Py_ssize_t left)
{
    uint8_t first = at[0];
    if (first < 0xC2 || first > 0xF4) return SEQUENCE_BAD;
    int length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    uint8_t low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;   /* no overlong form */
    uint8_t high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;  /* no surrogate, nothing over U+10FFFF */
    if (left < 2) return SEQUENCE_CUT;
    if (at[1] < low || at[1] > high) return SEQUENCE_BAD;
    for (int i = 2; i < length; i++) {
        if (i >= left) return SEQUENCE_CUT;
        if ((at[i] & 0xC0) != 0x80) return SEQUENCE_BAD;
    }
    return length;
}

/* How many of `count` bytes are whole UTF-8 sequences from the start. `*bad` is set when what follows can never become one. */
static Py_ssize_t utf8_good(const uint8_t *bytes, Py_ssize_t count, int *bad)
{
    Py_ssize_t i = 0;
    *bad = 0;
    while (i < count) {
        if (bytes[i] < 0x80) {
            uint64_t part;
            for (; count - i >= 8 && (memcpy(&part, bytes + i, 8), (part & HIGH_BITS) == 0); i += 8);
            for (; i < count && bytes[i] < 0x80; i++);
            continue;
        }
        int length = sequence(bytes + i, count - i);
        if (length <= 0) {
            *bad = length == SEQUENCE_BAD;
            break;
        }
        i += length;
    }
    return i;
}

/* ---- frame headers ---- */

typedef struct {
    uint8_t opcode;     /* with COMPRESSED */
    int size;           /* of the header itself: 2 to 14 */
    Py_ssize_t length;  /* of the payload */
} Header;

/* Whether `at` starts with the whole header of a frame that we take; then `header` is filled in. */
SPECIALISED int read_header(
    const uint8_t *at, Py_ssize_t available, Py_ssize_t maximum, Py_ssize_t flags, int masked, Header *header)
{
    const int mask = masked ? MASK : 0;
    /* incomplete; a fragment; not masked, or masked, though it must be the other */
    if (available < 2 + mask || !(at[0] & 0x80) || !(at[1] & 0x80) == masked) return 0;
    uint8_t opcode = at[0] & 0x0F, reserved = at[0] & 0x70, short_length = at[1] & 0x7F;
    uint64_t longest = (uint64_t)maximum;
    if (opcode == OPCODE_PING || opcode == OPCODE_PONG) {
        if (reserved || short_length > LONGEST_CONTROL) return 0;
        longest = LONGEST_CONTROL;
    }
    else if (opcode == OPCODE_TEXT || opcode == OPCODE_BINARY) {
        if (reserved) {
            if (reserved != 0x40 || !(flags & FLAG_RSV1)) return 0;
            longest += SLACK(longest);
            if (longest > PY_SSIZE_T_MAX) longest = PY_SSIZE_T_MAX;
        }
    }
    else {
        return 0;
    }
    uint64_t length = short_length;
    int size = 2 + mask;
    if (short_length == 126) {
        size = 4 + mask;
        if (available < size) return 0;
        length = (uint64_t)at[2] << 8 | at[3];
        if (length < 126) return 0;
    }
    else if (short_length == 127) {
        size = 10 + mask;
        if (available < size) return 0;
        length = 0;
        for (int i = 2; i < 10; i++) length = length << 8 | at[i];
        if (length < 65536) return 0;
    }
    if (available < size || length > longest) return 0;
    header->opcode = (uint8_t)(opcode | (reserved ? COMPRESSED : 0));
    header->size = size;
    header->length = (Py_ssize_t)length;
    return 1;
}

/* ---- take ---- */

/* The memory for a payload and the object that has it: an ASCII str when `as_str`, else bytes. The object is not shown before
 * it is filled; a str that turns out not to be ASCII is never shown. */
static PyObject *new_target(Py_ssize_t length, int as_str, uint8_t **bytes)
{
    PyObject *target = as_str ? PyUnicode_New(length, 127) : PyBytes_FromStringAndSize(NULL, length);
    if (target != NULL) {
        *bytes = as_str ? (uint8_t *)PyUnicode_1BYTE_DATA(target) : (uint8_t *)PyBytes_AS_STRING(target);
    }
    return target;
}

/* The payload behind `header`, which begins at `at`, as a new object. NULL without an exception: a text that is not UTF-8. */
SPECIALISED PyObject *payload_of(const Header *header, const uint8_t *at, Py_ssize_t flags, int masked)
{
    const uint8_t *payload = at + header->size;
    int text = header->opcode == OPCODE_TEXT, as_str = text && (flags & FLAG_TEXT);
    uint8_t *bytes;
    PyObject *target = new_target(header->length, as_str, &bytes);
    if (target == NULL) return NULL;
    uint64_t any = unmask(bytes, payload, header->length, masked ? mask_word(payload - MASK, 0) : 0);
    if (!text || !(any & HIGH_BITS)) return target;
    PyObject *result = NULL;
    if (as_str) {
        result = PyUnicode_DecodeUTF8((const char *)bytes, header->length, NULL);
        if (result == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) PyErr_Clear();
    }
    else {
        int bad;
        if (utf8_good(bytes, header->length, &bad) == header->length) return target;
    }
    Py_DECREF(target);
    return result;
}

/* Adds one frame to the list, which is made for the first: `payload` is used up, also on failure. */
static int gather(PyObject **list, uint8_t opcode, PyObject *payload)
{
    PyObject *number = PyLong_FromLong(opcode); /* one of the small ints that CPython keeps */
    int failed = number == NULL;
    if (!failed && *list == NULL && (*list = PyList_New(2)) != NULL) { /* one allocation of the right size, as one frame is usual */
        PyList_SET_ITEM(*list, 0, number);
        PyList_SET_ITEM(*list, 1, payload);
        return 0;
    }
    failed = failed || *list == NULL || PyList_Append(*list, number) < 0 || PyList_Append(*list, payload) < 0;
    Py_XDECREF(number);
    Py_DECREF(payload);
    return failed ? -1 : 0;
}

SPECIALISED PyObject *take(const char *name, PyObject *const *args, Py_ssize_t nargs, int masked)
{
    const uint8_t *at;
    Py_ssize_t position, available, maximum, flags, most;
    if (check_count(name, nargs, 5) < 0 || as_input(args[0], args[1], &at, &position, &available) < 0 ||
        as_size(args[2], "maximum", PY_SSIZE_T_MAX, &maximum) < 0 || as_size(args[3], "flags", ALL_FLAGS, &flags) < 0 ||
        as_size(args[4], "most", PY_SSIZE_T_MAX, &most) < 0) {
        return NULL;
    }
    PyObject *list = NULL;
    for (Header header; most > 0 && read_header(at, available, maximum, flags, masked, &header); most--) {
        if (header.length > available - header.size) break;
        PyObject *payload = payload_of(&header, at, flags, masked);
        if (payload == NULL && !PyErr_Occurred()) break;
        if (payload == NULL || gather(&list, header.opcode, payload) < 0) {
            Py_XDECREF(list);
            return NULL;
        }
        Py_ssize_t whole = header.size + header.length;
        at += whole;
        available -= whole;
        position += whole;
    }
    if (list == NULL && (list = PyList_New(0)) == NULL) return NULL;
    PyObject *end = PyLong_FromSsize_t(position), *result = end == NULL ? NULL : PyTuple_New(2);
    if (result == NULL) {
        Py_XDECREF(end);
        Py_DECREF(list);
        return NULL;
    }
    PyTuple_SET_ITEM(result, 0, list);
    PyTuple_SET_ITEM(result, 1, end);
    return result;
}

static PyObject *frames_take(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    return take("take", args, nargs, 1);
}

static PyObject *frames_take_unmasked(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    return take("take_unmasked", args, nargs, 0);
}

/* ---- whole ---- */

SPECIALISED PyObject *whole(const char *name, PyObject *const *args, Py_ssize_t nargs, int masked)
{
    Py_ssize_t maximum, flags;
    if (check_count(name, nargs, 3) < 0 || check_bytes(args[0], "data") < 0 ||
        as_size(args[1], "maximum", PY_SSIZE_T_MAX, &maximum) < 0 || as_size(args[2], "flags", ALL_FLAGS, &flags) < 0) {
        return NULL;
    }
    const uint8_t *at = (const uint8_t *)PyBytes_AS_STRING(args[0]);
    Header header;
    if (read_header(at, PyBytes_GET_SIZE(args[0]), maximum, flags, masked, &header) && header.opcode <= OPCODE_BINARY &&
        header.length == PyBytes_GET_SIZE(args[0]) - header.size) {
        PyObject *payload = payload_of(&header, at, flags, masked);
        if (payload != NULL || PyErr_Occurred()) return payload;
    }
    Py_RETURN_NONE;
}

static PyObject *frames_whole(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    return whole("whole", args, nargs, 1);
}

static PyObject *frames_whole_unmasked(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    return whole("whole_unmasked", args, nargs, 0);
}

/* ---- Partial ---- */

typedef struct {
    PyObject_HEAD
    PyObject *target;     /* see new_target() */
    uint8_t *bytes;       /* its memory */
    Py_ssize_t length;    /* of the payload */
    Py_ssize_t missing;   /* bytes still to come */
    Py_ssize_t checked;   /* text: bytes known to be whole UTF-8 sequences */
    Py_ssize_t exports;   /* rooms, not empty, that are held at the moment */
    Py_ssize_t keep;      /* for partial_getbuffer() while partial_room() calls it: bytes at the end to leave out */
    char valid;           /* a Python bool */
    char text, as_str, ascii;
    char lent;            /* bytes were taken in while a room was held: its holder may have changed them after the check */
    char masked;
    uint8_t opcode;       /* with COMPRESSED */
    uint8_t header_size;
    uint8_t header[LONGEST_HEADER];
} Partial;

#define POOL_BYTES 256 /* the most that getentropy() gives at once: 64 masks */

typedef struct {
    PyTypeObject *partial;
    uint8_t pool[POOL_BYTES]; /* random bytes for masks, used from the end */
    int pooled;               /* how many of them are left */
    unsigned forks;           /* `forked` when the pool was filled: a child of the process must not use its parent's masks again */
} State;

static uint64_t partial_word(const Partial *self, Py_ssize_t offset)
{
    return self->masked ? mask_word(self->header + self->header_size - MASK, offset & 3) : 0;
}

/* Counts `count` more bytes as unmasked and in place; `any` is what unmask() said of them. */
static void partial_advance(Partial *self, Py_ssize_t count, uint64_t any)
{
    Py_ssize_t before = self->length - self->missing, now = before + count;
    self->missing -= count;
    if (self->exports > 0) self->lent = 1;
    if (!self->text || !self->valid) return;
    int bad = 0;
    if (any & HIGH_BITS) self->ascii = 0;
    if (self->checked == before && !(any & HIGH_BITS)) {
        self->checked = now;
    }
    else {
        self->checked += utf8_good(self->bytes + self->checked, now - self->checked, &bad);
    }
    if (bad || (self->missing == 0 && self->checked != self->length)) self->valid = 0;
}

static Py_ssize_t partial_copy(Partial *self, const uint8_t *from, Py_ssize_t available)
{
    Py_ssize_t count = available < self->missing ? available : self->missing, before = self->length - self->missing;
    if (count > 0) {
        partial_advance(self, count, unmask(self->bytes + before, from, count, partial_word(self, before)));
    }
    return count;
}

static PyObject *begin(PyObject *module, const char *name, PyObject *const *args, Py_ssize_t nargs, int masked)
{
    const uint8_t *at;
    Py_ssize_t position, available, maximum, flags;
    if (check_count(name, nargs, 4) < 0 || as_input(args[0], args[1], &at, &position, &available) < 0 ||
        as_size(args[2], "maximum", PY_SSIZE_T_MAX, &maximum) < 0 || as_size(args[3], "flags", ALL_FLAGS, &flags) < 0) {
        return NULL;
    }
    Header header;
    if (!read_header(at, available, maximum, flags, masked, &header) || header.length <= available - header.size ||
        (header.opcode & 0x0F) >= OPCODE_PING) {
        Py_RETURN_NONE;
    }
    int text = header.opcode == OPCODE_TEXT, as_str = text && (flags & FLAG_TEXT);
    uint8_t *bytes;
    PyObject *target = new_target(header.length, as_str, &bytes);
    if (target == NULL) { /* the peer chose the length: a parser that grows as bytes arrive may still manage */
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    PyTypeObject *type = ((State *)PyModule_GetState(module))->partial;
    Partial *self = (Partial *)type->tp_alloc(type, 0); /* zeroed */
    if (self == NULL) {
        Py_DECREF(target);
        return NULL;
    }
    self->target = target;
    self->bytes = bytes;
    self->length = self->missing = header.length;
    self->valid = self->ascii = 1;
    self->text = (char)text;
    self->as_str = (char)(as_str != 0);
    self->masked = (char)masked;
    self->opcode = header.opcode;
    self->header_size = (uint8_t)header.size;
    memcpy(self->header, at, (size_t)header.size);
    partial_copy(self, at + header.size, available - header.size);
    if (!self->valid) {
        Py_DECREF(self);
        Py_RETURN_NONE;
    }
    return (PyObject *)self;
}

static PyObject *frames_begin(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    return begin(module, "begin", args, nargs, 1);
}

static PyObject *frames_begin_unmasked(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    return begin(module, "begin_unmasked", args, nargs, 0);
}

static PyObject *partial_feed(Partial *self, PyObject *const *args, Py_ssize_t nargs)
{
    const uint8_t *at;
    Py_ssize_t position, available;
    if (check_count("feed", nargs, 2) < 0 || as_input(args[0], args[1], &at, &position, &available) < 0) return NULL;
    return PyLong_FromSsize_t(position + partial_copy(self, at, available));
}

static PyObject *partial_room(Partial *self, PyObject *const *args, Py_ssize_t nargs)
{
    Py_ssize_t keep = 0;
    if (nargs != 0 && (check_count("room", nargs, 1) < 0 || as_size(args[0], "keep", PY_SSIZE_T_MAX, &keep) < 0)) return NULL;
    self->keep = keep;
    PyObject *room = PyMemoryView_FromObject((PyObject *)self);
    self->keep = 0;
    return room;
}

static PyObject *partial_received(Partial *self, PyObject *number)
{
    Py_ssize_t count;
    if (as_size(number, "count", self->missing, &count) < 0) return NULL;
    partial_copy(self, self->bytes + (self->length - self->missing), count); /* unmasks in place */
    Py_RETURN_NONE;
}

static PyObject *partial_message(Partial *self, PyObject *Py_UNUSED(ignored))
{
    if (self->missing > 0 || !self->valid) {
        PyErr_SetString(PyExc_ValueError, self->valid ? "the payload is not complete" : "the payload is not valid");
        return NULL;
    }
    /* While a room is held its holder could still write: then the message is a copy. If a holder may have changed the bytes
     * after the check, they are not trusted to be ASCII, because a str with a wrong ASCII flag would break the interpreter. */
    const char *bytes = (const char *)self->bytes;
    if (self->as_str && (!self->ascii || self->lent || self->exports > 0)) return PyUnicode_DecodeUTF8(bytes, self->length, NULL);
    if (self->exports > 0) return PyBytes_FromStringAndSize(bytes, self->length);
    return Py_NewRef(self->target);
}

static PyObject *partial_replay(Partial *self, PyObject *Py_UNUSED(ignored))
{
    Py_ssize_t count = self->length - self->missing;
    if (count > PY_SSIZE_T_MAX - LONGEST_HEADER) return PyErr_NoMemory();
    PyObject *result = PyBytes_FromStringAndSize(NULL, self->header_size + count);
    if (result != NULL) {
        uint8_t *to = (uint8_t *)PyBytes_AS_STRING(result);
        memcpy(to, self->header, self->header_size);
        unmask(to + self->header_size, self->bytes, count, partial_word(self, 0));
    }
    return result;
}

static int partial_getbuffer(Partial *self, Py_buffer *view, int flags)
{
    Py_ssize_t start = self->length - self->missing, count = self->missing - self->keep;
    if (PyBuffer_FillInfo(view, (PyObject *)self, self->bytes + start, count > 0 ? count : 0, 0, flags) < 0) return -1;
    self->exports += view->len > 0; /* an empty room cannot be written to */
    return 0;
}

static void partial_releasebuffer(Partial *self, Py_buffer *view)
{
    self->exports -= view->len > 0;
}

static void partial_dealloc(Partial *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(self->target);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

static PyMethodDef partial_methods[] = {
    {"feed", FAST(partial_feed), METH_FASTCALL, "feed(data, position) -> new position"},
    {"room", FAST(partial_room), METH_FASTCALL, "room(keep=0) -> a writable memoryview of what is missing"},
    {"received", FAST(partial_received), METH_O, "received(count): so many bytes were put into the room"},
    {"message", FAST(partial_message), METH_NOARGS, "message() -> the payload"},
    {"replay", FAST(partial_replay), METH_NOARGS, "replay() -> the frame's bytes so far, as they came"},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef partial_members[] = {
    {"missing", T_PYSSIZET, offsetof(Partial, missing), READONLY, "bytes still to come"},
    {"valid", T_BOOL, offsetof(Partial, valid), READONLY, "False as soon as a text cannot be UTF-8 any more"},
    {"opcode", T_UBYTE, offsetof(Partial, opcode), READONLY, "as take() gives it"},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot partial_slots[] = {
    {Py_tp_doc, "A data frame whose payload is not all here yet; begin() makes it."},
    {Py_tp_dealloc, partial_dealloc},
    {Py_tp_methods, partial_methods},
    {Py_tp_members, partial_members},
    {Py_bf_getbuffer, partial_getbuffer},
    {Py_bf_releasebuffer, partial_releasebuffer},
    {0, NULL},
};

static PyType_Spec partial_spec = {
    .name = "wsdaemon.wire.frames._frames.Partial",
    .basicsize = sizeof(Partial),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = partial_slots,
};

/* ---- sending ---- */

/* Parses (opcode, payload or length, rsv1=False). */
static int as_frame(const char *name, PyObject *const *args, Py_ssize_t nargs, PyObject *names, uint8_t *first)
{
    Py_ssize_t named = names == NULL ? 0 : PyTuple_GET_SIZE(names);
    if (nargs < 2 || nargs + named > 3 ||
        (named == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "rsv1") != 0)) {
        PyErr_Format(PyExc_TypeError, "%s() takes two positional arguments and rsv1", name);
        return -1;
    }
    Py_ssize_t opcode;
    int rsv1 = nargs + named == 3 ? PyObject_IsTrue(args[2]) : 0;
    if (rsv1 < 0 || as_size(args[0], "opcode", 15, &opcode) < 0) return -1;
    *first = (uint8_t)(0x80 | (rsv1 ? 0x40 : 0) | opcode);
    return 0;
}

static int write_header(uint8_t *to, uint8_t first, Py_ssize_t length)
{
    to[0] = first;
    if (length < 126) {
        to[1] = (uint8_t)length;
        return 2;
    }
    int extended = length < 65536 ? 2 : 8;
    to[1] = extended == 2 ? 126 : 127;
    for (int i = 0; i < extended; i++) {
        to[2 + i] = (uint8_t)((uint64_t)length >> (8 * (extended - 1 - i)));
    }
    return 2 + extended;
}

static PyObject *frames_frame(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
    uint8_t first, header[LONGEST_HEADER];
    if (as_frame("frame", args, nargs, names, &first) < 0 || check_bytes(args[1], "payload") < 0) return NULL;
    Py_ssize_t length = PyBytes_GET_SIZE(args[1]);
    int size = write_header(header, first, length);
    if (length > PY_SSIZE_T_MAX - LONGEST_HEADER) return PyErr_NoMemory();
    PyObject *result = PyBytes_FromStringAndSize(NULL, size + length);
    if (result != NULL) {
        memcpy(PyBytes_AS_STRING(result), header, (size_t)size);
        memcpy(PyBytes_AS_STRING(result) + size, PyBytes_AS_STRING(args[1]), (size_t)length);
    }
    return result;
}

static volatile unsigned forked; /* how often this process is a child's child */

static void note_fork(void)
{
    forked++;
}

/* A new masking key, from the system's strong random numbers (RFC 6455 section 5.3). NULL with an exception. */
static const uint8_t *new_mask(State *state)
{
    if (state->pooled < MASK || state->forks != forked) {
        if (getentropy(state->pool, POOL_BYTES) < 0) {
            PyErr_SetFromErrno(PyExc_OSError);
            return NULL;
        }
        state->pooled = POOL_BYTES;
        state->forks = forked;
    }
    state->pooled -= MASK;
    return state->pool + state->pooled;
}

static PyObject *frames_masked_frame(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
    uint8_t first, header[LONGEST_HEADER];
    if (as_frame("masked_frame", args, nargs, names, &first) < 0 || check_bytes(args[1], "payload") < 0) return NULL;
    Py_ssize_t length = PyBytes_GET_SIZE(args[1]);
    if (length > PY_SSIZE_T_MAX - LONGEST_HEADER) return PyErr_NoMemory();
    int size = write_header(header, first, length);
    header[1] |= 0x80;
    const uint8_t *mask = new_mask(PyModule_GetState(module));
    if (mask == NULL) return NULL;
    memcpy(header + size, mask, MASK);
    PyObject *result = PyBytes_FromStringAndSize(NULL, size + MASK + length);
    if (result != NULL) {
        uint8_t *to = (uint8_t *)PyBytes_AS_STRING(result);
        memcpy(to, header, (size_t)(size + MASK));
        unmask(to + size + MASK, (const uint8_t *)PyBytes_AS_STRING(args[1]), length, mask_word(header + size, 0));
    }
    return result;
}

static PyObject *frames_header(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
    uint8_t first, header[LONGEST_HEADER];
    Py_ssize_t length;
    if (as_frame("header", args, nargs, names, &first) < 0 || as_size(args[1], "length", PY_SSIZE_T_MAX, &length) < 0) return NULL;
    return PyBytes_FromStringAndSize((const char *)header, write_header(header, first, length));
}

/* Never waits, so the GIL is kept: releasing it costs as much as the call. */
static PyObject *frames_send(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    if (check_count("send", nargs, 2) < 0) return NULL;
    Py_ssize_t descriptor;
    if (as_size(args[0], "descriptor", INT_MAX, &descriptor) < 0 || check_bytes(args[1], "data") < 0) return NULL;
    ssize_t sent = send((int)descriptor, PyBytes_AS_STRING(args[1]), (size_t)PyBytes_GET_SIZE(args[1]), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) sent = errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : -1;
    return PyLong_FromSsize_t(sent);
}

/* ---- the module ---- */

static PyMethodDef frames_methods[] = {
    {"take", FAST(frames_take), METH_FASTCALL, "take(data, position, maximum, flags, most) -> ([opcode, payload, ...], position)"},
    {"whole", FAST(frames_whole), METH_FASTCALL, "whole(data, maximum, flags) -> payload | None"},
    {"begin", FAST(frames_begin), METH_FASTCALL, "begin(data, position, maximum, flags) -> Partial | None"},
    {"frame", FAST(frames_frame), METH_FASTCALL | METH_KEYWORDS, "frame(opcode, payload, rsv1=False) -> a server frame"},
    {"take_unmasked", FAST(frames_take_unmasked), METH_FASTCALL, "take() for the frames of a server"},
    {"whole_unmasked", FAST(frames_whole_unmasked), METH_FASTCALL, "whole() for the frame of a server"},
    {"begin_unmasked", FAST(frames_begin_unmasked), METH_FASTCALL, "begin() for the frames of a server"},
    {"masked_frame", FAST(frames_masked_frame), METH_FASTCALL | METH_KEYWORDS, "masked_frame(opcode, payload, rsv1=False) -> a client frame"},
    {"header", FAST(frames_header), METH_FASTCALL | METH_KEYWORDS, "header(opcode, length, rsv1=False) -> its header"},
    {"send", FAST(frames_send), METH_FASTCALL, "send(descriptor, data) -> bytes sent; 0: full; -1: an error"},
    {"head", frames_head, METH_O, "head(data) -> (end, target, path, raw path, query, header lines, picked values) | None"},
    {NULL, NULL, 0, NULL},
};

static pthread_once_t watching = PTHREAD_ONCE_INIT;

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, note_fork);
}

static int frames_exec(PyObject *module)
{
    State *state = PyModule_GetState(module);
    pthread_once(&watching, watch_forks);
    state->partial = (PyTypeObject *)PyType_FromModuleAndSpec(module, &partial_spec, NULL);
    if (state->partial == NULL || PyModule_AddType(module, state->partial) < 0) return -1;
    if (PyModule_AddIntConstant(module, "RSV1", FLAG_RSV1) < 0) return -1;
    if (PyModule_AddIntConstant(module, "TEXT", FLAG_TEXT) < 0) return -1;
    return PyModule_AddIntConstant(module, "INTERFACE", INTERFACE);
}

static int frames_traverse(PyObject *module, visitproc visit, void *arg)
{
    Py_VISIT(((State *)PyModule_GetState(module))->partial);
    return 0;
}

static int frames_clear(PyObject *module)
{
    Py_CLEAR(((State *)PyModule_GetState(module))->partial);
    return 0;
}

static PyModuleDef_Slot frames_slots[] = {
    {Py_mod_exec, frames_exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_USED}, /* a Partial has no lock of its own */
#endif
    {0, NULL},
};

static struct PyModuleDef frames_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "wsdaemon.wire.frames._frames",
    .m_doc = "WebSocket frames, the quick way; see twin.py for the twin in Python.",
    .m_size = sizeof(State),
    .m_methods = frames_methods,
    .m_slots = frames_slots,
    .m_traverse = frames_traverse,
    .m_clear = frames_clear,
};

PyMODINIT_FUNC PyInit__frames(void)
{
    return PyModuleDef_Init(&frames_module);
}
