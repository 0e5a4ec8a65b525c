// The instruction set that a file is compiled for: setup.py compiles it once for each, and says which.
#pragma once

#ifndef RNNJAX_ISA
#define RNNJAX_ISA portable
#define RNNJAX_VECTOR_BYTES 16
#define RNNJAX_VECTOR_REGISTERS 16
#endif

#define RNNJAX_JOIN_(a, b) a##b
#define RNNJAX_JOIN(a, b) RNNJAX_JOIN_(a, b)
#define RNNJAX_TEXT_(a) #a
#define RNNJAX_TEXT(a) RNNJAX_TEXT_(a)
