/* _internal/srvinit: Python, with what it runs within it. Stands in the place of PyInstaller's
 * bootloader, which loads libpython as a shared library: 39,000 relocations, of which each page they
 * lie on is copied, before the first line of Python (CPython 3.11: 3 ms of 17, measured). Here
 * Python's static library is linked into a program at a fixed address, which has none.
 *
 * What Python's start asks the import system for is compiled in, as frozen modules: no file is
 * looked for, none is read. Nothing is taken from the environment or the working directory
 * (isolated configuration), and sys.path has the bundle's folder of extension modules alone.
 *
 * Page faults are what a start mostly waits for, 1 to 5 us each on a virtual machine; memory that is
 * sure to be written is therefore asked for in one piece. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <link.h>
#include <malloc.h>
#include <sys/mman.h>

#define INNER PREFIX "/_internal"
#define PAGE 4096UL
/* Python's arenas have 1 MiB; a start to the first worker fills two. */
#define ARENAS_AT_ONCE 2

extern char __data_start, _edata; /* the linker's: what Python's static objects lie between */

/* Files that contents.py makes, as they are. */
#define INCLUDED(name, file)                                                            \
    extern const unsigned char name[], name##_end[];                                    \
    __asm__(".pushsection .rodata\n.balign 16\n" #name ":\n.incbin \"" file "\"\n"       \
            #name "_end:\n.popsection")

INCLUDED(bootstrap, "importlib._bootstrap.code");
INCLUDED(bootstrap_external, "importlib._bootstrap_external.code");
INCLUDED(zipimport, "zipimport.code");
INCLUDED(abc, "abc.code");
INCLUDED(codecs, "codecs.code");
INCLUDED(io, "io.code");
INCLUDED(encodings, "encodings.code");
INCLUDED(aliases, "encodings.aliases.code");
INCLUDED(utf_8, "encodings.utf_8.code");
INCLUDED(start, "start.code");
INCLUDED(early, "early.code");
INCLUDED(ctl, "ctl.code");
INCLUDED(late, "late.code");

static struct {
    const char *name;
    const unsigned char *code, *end;
} const FROZEN[] = {
    {"_frozen_importlib", bootstrap, bootstrap_end},
    {"_frozen_importlib_external", bootstrap_external, bootstrap_external_end},
    {"zipimport", zipimport, zipimport_end},
    {"abc", abc, abc_end},
    {"codecs", codecs, codecs_end},
    {"io", io, io_end},
    {"encodings", encodings, encodings_end},
    {"encodings.aliases", aliases, aliases_end},
    {"encodings.utf_8", utf_8, utf_8_end},
    {"__main__", start, start_end},
};
#define COUNT (sizeof FROZEN / sizeof *FROZEN)

#if PY_VERSION_HEX < 0x030C0000
/* What stands in Python's own frozen.o and deepfreeze.o, which the linker therefore leaves out. They
 * have 27 modules as static objects, 0.9 MB of which each page is written to while their strings are
 * interned: a tenth of a start. Of these six are wanted. */
static const struct {
    const char *name, *original;
} ALIASES[] = {
    {"_frozen_importlib", "importlib._bootstrap"},
    {"_frozen_importlib_external", "importlib._bootstrap_external"},
    {NULL, NULL},
};
static const struct _frozen NOTHING[] = {{.name = NULL}};

const struct _frozen *PyImport_FrozenModules;
const struct _frozen *_PyImport_FrozenBootstrap = NOTHING;
const struct _frozen *_PyImport_FrozenStdlib = NOTHING;
const struct _frozen *_PyImport_FrozenTest = NOTHING;
const void *_PyImport_FrozenAliases = ALIASES;

int _Py_Deepfreeze_Init(void)
{
    return 0;
}

void _Py_Deepfreeze_Fini(void)
{
}
#endif

static void offer_frozen_modules(void)
{
    static struct _frozen frozen[COUNT + 1];

    for (size_t i = 0; i < COUNT; i++) {
        frozen[i].name = FROZEN[i].name;
        frozen[i].code = FROZEN[i].code;
        frozen[i].size = (int)(FROZEN[i].end - FROZEN[i].code);
        frozen[i].is_package = FROZEN[i].code == encodings;
    }
    PyImport_FrozenModules = frozen;
}

static void *new_arena(void *context, size_t size)
{
    static int made;
    int at_once = made++ < ARENAS_AT_ONCE ? MAP_POPULATE : 0;
    void *arena = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | at_once,
                       -1, 0);

    (void)context;
    return arena == MAP_FAILED ? NULL : arena;
}

static void free_arena(void *context, void *arena, size_t size)
{
    (void)context;
    munmap(arena, size);
}

static void ask_for_memory_at_once(void)
{
    PyObjectArenaAllocator arenas = {NULL, new_arena, free_arena};
    uintptr_t from = (uintptr_t)&__data_start & ~(PAGE - 1);

    PyObject_SetArenaAllocator(&arenas);
#ifdef MADV_POPULATE_WRITE /* Linux 5.14; elsewhere refused, and page by page then */
    madvise((void *)from, (uintptr_t)&_edata - from, MADV_POPULATE_WRITE);
#endif
}

/* --- the module _bundle: what Python cannot do for itself -------------------------------------- */

static int unmap_file_pages(struct dl_phdr_info *object, size_t size, void *context)
{
    (void)size, (void)context;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];
        uintptr_t from = (object->dlpi_addr + part->p_vaddr) & ~(PAGE - 1);
        uintptr_t end = object->dlpi_addr + part->p_vaddr + part->p_memsz;

        /* Never what can be written: that would undo what was. The vdso is no file: refused. */
        if (part->p_type == PT_LOAD && !(part->p_flags & PF_W))
            madvise((void *)from, end - from, MADV_DONTNEED);
    }
    return 0;
}

/* Give back what only the start needed: free memory, and the mapping of code that has run. That
 * stays in the page cache, shared by all containers of an image, and is mapped again when it runs. */
static PyObject *give_back_memory(PyObject *self, PyObject *nothing)
{
    (void)self, (void)nothing;
    malloc_trim(0);
    dl_iterate_phdr(unmap_file_pages, NULL);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"give_back_memory", give_back_memory, METH_NOARGS, "Give back what only the start needed."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef bundle = {PyModuleDef_HEAD_INIT, "_bundle", NULL, -1, methods,
                                    NULL, NULL, NULL, NULL};

static int add(PyObject *module, const char *name, const unsigned char *from,
               const unsigned char *end)
{
    PyObject *view = PyMemoryView_FromMemory((char *)from, end - from, PyBUF_READ);

    return view == NULL ? -1 : PyModule_AddObject(module, name, view);
}

static PyObject *make_bundle(void)
{
    PyObject *module = PyModule_Create(&bundle);

    if (module == NULL || add(module, "EARLY", early, early_end) < 0
        || add(module, "CTL", ctl, ctl_end) < 0 || add(module, "LATE", late, late_end) < 0)
        return NULL;
    return module;
}

#include "builtins.h" /* made by contents.py: the modules that are part of the program */

/* --- Python's start ----------------------------------------------------------------------------- */

static void or_exit(PyStatus status)
{
    if (PyStatus_Exception(status))
        Py_ExitStatusException(status);
}

static void configure(PyConfig *config, int argc, char **argv)
{
    wchar_t **const places[] = {
        &config->program_name, &config->executable, &config->base_executable, &config->home,
        &config->prefix, &config->exec_prefix, &config->base_prefix, &config->base_exec_prefix,
    };

    PyConfig_InitIsolatedConfig(config);
    config->site_import = 0;
    config->write_bytecode = 0;
    config->parse_argv = 0;
    config->pathconfig_warnings = 0;
    config->optimization_level = 2;
    config->verbose = VERBOSE;
    or_exit(PyConfig_SetBytesArgv(config, argc, argv));
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        or_exit(PyConfig_SetString(config, places[i], L"" INNER));
    config->module_search_paths_set = 1;
    or_exit(PyWideStringList_Append(&config->module_search_paths, L"" INNER "/lib-dynload"));
}

int main(int argc, char **argv)
{
    PyPreConfig before;
    PyConfig config;

    ask_for_memory_at_once();
    offer_frozen_modules();
    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1;
    or_exit(Py_PreInitialize(&before));
    configure(&config, argc, argv);
    or_exit(Py_InitializeFromConfig(&config));
    PyConfig_Clear(&config);
    if (PyImport_ImportFrozenModule("__main__") != 1) {
        PyErr_Print(); /* SystemExit, which is the usual end, ends the process here */
        return 1;
    }
    return Py_FinalizeEx() < 0;
}
