// Package scopes is step 2 of 9: it turns a folder of YAML files into typed, versioned scopes, and a scope with
// parameters into a Request, the compiled permissions and their tier.
//
// It trusts the catalog's author with the patterns, and no one with the values. It talks to no network, reads files in
// Load and LoadCeiling alone, and never decides who may ask.
//
// Laws:
//   - A parameter fills one hole and never widens a pattern: a value with a wildcard, a variable or a control
//     character is refused, whatever its type.
//   - An empty permission set is an error, never "no restriction".
//   - A Request has been proven to lie within its scope's ceiling, its permissions at their widest parameters.
//   - The tier comes from the compiled permissions. What the action catalogue does not know is admin.
//   - An action wildcard is expanded when the catalog is loaded; what AWS adds later is not granted.
//   - A catalog loads whole or not at all, and its error names file, line and column.
//   - What is compiled, proven, measured and answered is so for one dialect, that of what enforces the role. Resolve without
//     one is refused; what a catalog alone says holds for every dialect that models the scope.
//   - A scope loads under a role only where the role's ceiling is proven to cover the scope's (ProveCeilings).
//   - A scope's version changes with everything that can change its meaning.
//
// Only Resolve makes a Request; its zero value is invalid and step 3 refuses it.
package scopes
