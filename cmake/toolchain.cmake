# How every file is compiled and linked: language, warnings, optimisation, sanitizers, and faster tools when present.
include(CheckLinkerFlag)

set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# -g1 keeps function names and line numbers for backtraces, at a fraction of the size of -g. What nothing calls is left out by the
# linker, function by function.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1 -DNDEBUG -ffunction-sections -fdata-sections")
add_link_options($<$<CONFIG:Release>:LINKER:--gc-sections>)
set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g1 -fno-omit-frame-pointer")

# The baseline is every x86-64 machine since about 2009. Code that wants more (crc32c) asks the processor at run
# time and marks its own functions with target attributes.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  add_compile_options(-march=x86-64-v2)
endif()

# -Wconversion without its sign half: mixing signedness in an index is noise, losing bits is not. Fields left out
# of a designated initializer are left out on purpose: they have defaults.
add_compile_options(-Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wno-missing-field-initializers)
if(HF_WERROR)
  add_compile_options(-Werror)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  add_compile_options(-Wreserved-identifier)
elseif(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 sees these in correct standard library code once it is inlined (GCC bugs 105651, 105329, 105562 and kin), the more so
  # where the library came out of a precompiled header. Not one was right. clang and the sanitizers look for the same mistakes.
  add_compile_options(-Wno-restrict -Wno-array-bounds -Wno-stringop-overflow -Wno-stringop-overread
                      -Wno-error=maybe-uninitialized)
endif()

# No path of the building machine in the binary: __FILE__ and debug information start at the repository's root.
add_compile_options(-ffile-prefix-map=${CMAKE_SOURCE_DIR}=.)

if(HF_BUGS)
  add_compile_definitions(HF_PLANTED_BUGS=1)
endif()

# Sanitizers. The vptr check is off because it needs run-time type information, which the floors do not have.
set(HF_FUZZ OFF)
if(HF_SANITIZE)
  string(REPLACE ";" "," sanitizers "${HF_SANITIZE}")
  add_compile_options(-fsanitize=${sanitizers} -fno-sanitize=vptr -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${sanitizers})
  # Where addresses are checked and libFuzzer is at hand, the same objects serve tests and fuzz programs.
  if(sanitizers MATCHES "address" AND CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    set(HF_FUZZ ON)
    add_compile_options(-fsanitize=fuzzer-no-link)
  endif()
endif()

find_program(CCACHE ccache)
if(CCACHE)
  # Without these ccache does not remember what was compiled with precompiled headers. They forgive nothing that the tree does: no
  # file looks at the time, and none tells by a macro whether a header is precompiled.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${CCACHE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    # A precompiled header out of the cache is as good as a new one.
    add_compile_options("SHELL:-Xclang -fno-pch-timestamp")
  endif()
endif()

# lld links several times faster than ld. g++ 12 looks for a program of exactly the name ld.lld, and Debian installs
# ld.lld-19: a directory of our own with the right name in it settles the matter for both compilers.
find_program(LLD NAMES ld.lld-19 ld.lld)
if(LLD)
  set(lld_folder ${CMAKE_BINARY_DIR}/linker)
  file(MAKE_DIRECTORY ${lld_folder})
  file(CREATE_LINK ${LLD} ${lld_folder}/ld.lld SYMBOLIC)
  check_linker_flag(CXX "-B${lld_folder};-fuse-ld=lld" HF_LLD_WORKS)
  if(HF_LLD_WORKS)
    add_link_options(-B${lld_folder} -fuse-ld=lld)
  endif()
endif()

# A shared library that nothing calls is not loaded.
add_link_options(LINKER:--as-needed)
