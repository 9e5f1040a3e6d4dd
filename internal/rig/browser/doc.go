// Package browser tests the live page in a real browser: Chromium without a
// window, driven through its DevTools protocol over two pipes.
//
// A Transport calls real servers with real faults while the browser looks, and the
// tests read what a user would see: endpoints that are left out and come back, and
// recorded calls that a filter finds, by keyboard alone. Any message of the
// browser's console fails them, violations of the Content-Security-Policy among
// them.
//
// Without Chromium the tests skip and say so; tools.sh installs it. With
// TULLE_SCREENSHOTS set to a folder they leave pictures of the pages there.
package browser
