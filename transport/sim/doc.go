// Package sim runs the policies of a Transport against a model of your service,
// in virtual time: it shows what a balancer, a timeout, a retry budget or an
// ejection threshold does before production does.
//
// A [Scenario] describes servers, load and what goes wrong. [Run] sends its calls
// through the very code that a Transport uses (balancer, ejection, breaker,
// limit, retries, classifier), in the same order; only servers and network are
// a model. A run depends on nothing but the scenario and its seed. [Parse] reads
// a scenario from JSON, [Named] has those that come with the package, and a
// [Result] writes itself as a table, as CSV and as a plot. The command tulle-sim
// does all this from a YAML file.
//
// What the model leaves out: servers take work in the order in which it comes,
// all clients are alike, a response has no body, connections cost nothing to
// open, and picking takes no time. Differences of less than 3 % of a percentile,
// or of a few calls in a hundred thousand, mean nothing in a single run.
package sim
