// Package definition is the router that a RouterDefinition describes: a data plane without code. It compiles the
// definition's expressions, makes an author's object say a split, and gives it back.
//
// An author's object is adopted, never made: Siskin writes the fields that the definition declares, in that one
// object of the Canary's namespace, and keeps in annotations what its author wants of them.
package definition
