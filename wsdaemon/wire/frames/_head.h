/* The function of _head.c that the module has beside those for frames. */
#ifndef WSDAEMON_HEAD_H
#define WSDAEMON_HEAD_H

#include <Python.h>

PyObject *frames_head(PyObject *module, PyObject *data);

#endif
