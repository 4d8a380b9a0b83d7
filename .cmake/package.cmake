# Installing, find_package, pkg-config and the .deb. Each library is an install component,
# runnel_NAME, and a component of find_package, NAME, and is found without the others that it does
# not need. The package itself is described at the end.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(runnel_config_folder ${CMAKE_INSTALL_LIBDIR}/cmake/runnel)
set(runnel_pc_folder ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# runnel_external(TARGET [PACKAGE find_package's arguments] [MODULES pkg-config's modules]
#                 [LIBS linker flags] [DEBIAN packages])
# says where a user gets a target from that is not ours and that a library of ours links. A target
# PkgConfig::X is found by its modules, any other by its package.
function(runnel_external target)
  cmake_parse_arguments(arg "" "" "PACKAGE;MODULES;LIBS;DEBIAN" ${ARGN})
  foreach(part IN ITEMS PACKAGE MODULES LIBS DEBIAN)
    set_property(GLOBAL PROPERTY "runnel_${part}_${target}" ${arg_${part}})
  endforeach()
  set_property(GLOBAL APPEND PROPERTY runnel_externals ${target})
endfunction()

set(boost ${Boost_VERSION_MAJOR}.${Boost_VERSION_MINOR})
runnel_external(Threads::Threads PACKAGE Threads LIBS -pthread)
runnel_external(Boost::headers PACKAGE Boost 1.81 DEBIAN libboost${boost}-dev)
runnel_external(Boost::context
  PACKAGE Boost 1.81 COMPONENTS context LIBS -lboost_context DEBIAN libboost-context${boost}-dev)
runnel_external(PkgConfig::LIBURING MODULES "liburing >= 2.3" DEBIAN "liburing-dev (>= 2.3)")
runnel_external(PkgConfig::TOMLPLUSPLUS
  MODULES "tomlplusplus >= 3.0" DEBIAN "libtomlplusplus-dev (>= 3.0)")
runnel_external(PkgConfig::CARES MODULES "libcares >= 1.18" DEBIAN "libc-ares-dev (>= 1.18)")
# For tests of whoever installs the package, so it does not depend on it.
runnel_external(doctest::doctest PACKAGE doctest)

# runnel_closure(NAME PUBLIC ... PRIVATE ...): remembers what the library needs. What it privately
# links, a user needs too when it is an archive.
function(runnel_closure name)
  cmake_parse_arguments(arg "" "" "PUBLIC;PRIVATE" ${ARGN})
  set(links ${arg_PUBLIC})
  get_target_property(type runnel_${name} TYPE)
  if(type STREQUAL "STATIC_LIBRARY")
    list(APPEND links ${arg_PRIVATE})
  endif()
  get_property(known GLOBAL PROPERTY runnel_externals)
  set(ours)
  set(theirs)
  foreach(target IN LISTS links)
    if(target MATCHES "^runnel::(.+)$")
      get_property(below GLOBAL PROPERTY runnel_ours_${CMAKE_MATCH_1})
      if(NOT below)
        message(FATAL_ERROR "runnel::${name} links ${target}, which has to be added before it.")
      endif()
      list(APPEND ours ${below})
      get_property(below GLOBAL PROPERTY runnel_theirs_${CMAKE_MATCH_1})
      list(APPEND theirs ${below})
    elseif(target IN_LIST known)
      list(APPEND theirs ${target})
    else()
      message(FATAL_ERROR "runnel::${name} links ${target}, which a user of the installed library "
        "cannot find: add a line runnel_external(${target} ...) to .cmake/package.cmake.")
    endif()
  endforeach()
  list(APPEND ours ${name})
  list(REMOVE_DUPLICATES ours)
  list(REMOVE_DUPLICATES theirs)
  set_property(GLOBAL PROPERTY runnel_ours_${name} ${ours})
  set_property(GLOBAL PROPERTY runnel_theirs_${name} ${theirs})
  set_property(GLOBAL APPEND PROPERTY runnel_components ${name})
endfunction()

# runnel_component_file(NAME): what runnelConfig.cmake reads to find this component.
function(runnel_component_file name)
  get_property(ours GLOBAL PROPERTY runnel_ours_${name})
  get_property(theirs GLOBAL PROPERTY runnel_theirs_${name})
  set(text "# What runnel::${name} needs; runnelConfig.cmake reads this.\n")
  foreach(target IN LISTS theirs)
    get_property(package GLOBAL PROPERTY "runnel_PACKAGE_${target}")
    if(target MATCHES "^PkgConfig::(.+)$")
      get_property(modules GLOBAL PROPERTY "runnel_MODULES_${target}")
      string(REPLACE " " "" modules "${modules}")
      string(APPEND text "find_package(PkgConfig QUIET)\nif(PkgConfig_FOUND)\n"
        "  pkg_check_modules(${CMAKE_MATCH_1} QUIET IMPORTED_TARGET \"${modules}\")\nendif()\n")
    else()
      list(JOIN package " " package)
      string(APPEND text "find_package(${package} QUIET)\n")
    endif()
    string(APPEND text "if(NOT TARGET ${target})\n"
      "  list(APPEND runnel_missing ${target})\nendif()\n")
  endforeach()
  string(APPEND text "set(runnel_libraries ${ours})\n")
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/package/runnel-${name}.cmake CONTENT "${text}" @ONLY)
endfunction()

# runnel_pkg_config(NAME): runnel-NAME.pc. What is not in a public header is in the private lines,
# so that a user of archives says `pkg-config --static`.
function(runnel_pkg_config name)
  cmake_parse_arguments(arg "" "" "PUBLIC;PRIVATE" ${ARGN})
  set(modules)
  set(private_modules)
  set(libs)
  foreach(target IN LISTS arg_PUBLIC arg_PRIVATE)
    if(target MATCHES "^runnel::(.+)$")
      list(APPEND modules runnel-${CMAKE_MATCH_1})
      continue()
    endif()
    get_property(module GLOBAL PROPERTY "runnel_MODULES_${target}")
    get_property(flags GLOBAL PROPERTY "runnel_LIBS_${target}")
    list(APPEND private_modules ${module})
    list(APPEND libs ${flags})
  endforeach()
  list(JOIN modules ", " modules)
  list(JOIN private_modules ", " private_modules)
  list(JOIN libs " " libs)
  set(module runnel-${name})
  if(name STREQUAL "runnel")
    set(module runnel)
  endif()
  set(own_lib -lrunnel_${name})
  get_target_property(type runnel_${name} TYPE)
  if(type STREQUAL "INTERFACE_LIBRARY")
    set(own_lib)
  endif()
  file(RELATIVE_PATH up
    ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_FULL_INCLUDEDIR}/..)
  string(REGEX REPLACE "/$" "" up "${up}")
  configure_file(${PROJECT_SOURCE_DIR}/.cmake/runnel.pc.in
    ${PROJECT_BINARY_DIR}/package/${module}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/package/${module}.pc
    DESTINATION ${runnel_pc_folder} COMPONENT runnel_${name})
endfunction()

# runnel_package_library(NAME PUBLIC ... PRIVATE ...): installs runnel_NAME and what finds it.
function(runnel_package_library name)
  set(target runnel_${name})
  runnel_closure(${name} ${ARGN})
  runnel_component_file(${name})
  runnel_pkg_config(${name} ${ARGN})
  get_target_property(headers ${target} HEADER_SETS)
  if(headers)
    set(headers FILE_SET HEADERS COMPONENT ${target})
  else()
    set(headers)
  endif()
  # CMake before 3.23 does not know file sets and looks for the folder.
  install(TARGETS ${target} EXPORT ${target} COMPONENT ${target} ${headers}
    INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  install(EXPORT ${target} FILE runnel-${name}-targets.cmake NAMESPACE runnel::
    DESTINATION ${runnel_config_folder} COMPONENT ${target})
  set(folder ${PROJECT_BINARY_DIR}/package)
  install(FILES ${folder}/runnelConfig.cmake ${folder}/runnelConfigVersion.cmake
    ${folder}/runnel-${name}.cmake
    DESTINATION ${runnel_config_folder} COMPONENT ${target})
endfunction()

# runnel_package(): what belongs to no single library. To be called behind all of them.
function(runnel_package)
  configure_package_config_file(${PROJECT_SOURCE_DIR}/.cmake/runnelConfig.cmake.in
    ${PROJECT_BINARY_DIR}/package/runnelConfig.cmake INSTALL_DESTINATION ${runnel_config_folder})
  write_basic_package_version_file(${PROJECT_BINARY_DIR}/package/runnelConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
  install(FILES ${PROJECT_SOURCE_DIR}/LICENSE RENAME copyright
    DESTINATION ${CMAKE_INSTALL_DATAROOTDIR}/doc/librunnel-dev COMPONENT runnel_runnel)
endfunction()

# runnel_deb(): what `cpack -G DEB` makes of all components.
function(runnel_deb)
  get_property(components GLOBAL PROPERTY runnel_components)
  set(depends)
  foreach(component IN LISTS components)
    get_property(theirs GLOBAL PROPERTY runnel_theirs_${component})
    foreach(target IN LISTS theirs)
      get_property(packages GLOBAL PROPERTY "runnel_DEBIAN_${target}")
      list(APPEND depends ${packages})
    endforeach()
  endforeach()
  list(REMOVE_DUPLICATES depends)
  list(SORT depends)
  list(JOIN depends ", " depends)
  set(CPACK_PACKAGE_NAME librunnel-dev)
  set(CPACK_PACKAGE_VENDOR "the runnel developers")
  set(CPACK_PACKAGE_CONTACT "the runnel developers <runnel@localhost>")
  set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "C++20 coroutine runtime on io_uring with its own TCP")
  set(CPACK_PACKAGE_DESCRIPTION "Headers, libraries, and the files of CMake and pkg-config for \
programs that use tasks, task groups, deadlines and cancellation on io_uring, and optionally a TCP \
over a TUN device whose policies are values of the program, and HTTP/1.1.")
  set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
  set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
  set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE
    GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
  set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
  set(CPACK_DEBIAN_PACKAGE_SECTION libdevel)
  set(CPACK_DEBIAN_PACKAGE_DEPENDS "libc6-dev, ${depends}")
  set(CPACK_DEBIAN_PACKAGE_SUGGESTS "cmake (>= 3.25), pkg-config, doctest-dev")
  set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
  if(BUILD_SHARED_LIBS)
    set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
  endif()
  include(CPack)
endfunction()
