// Package measure times calls in blocks that alternate between a baseline and
// its peers, so that what else happens on the machine hits both alike.
//
// A figure of one block says little on a machine that others use; the ratio of
// two neighbouring blocks says more, and the median of many such ratios is what
// the tables show, with the quartiles beside it.
package measure
