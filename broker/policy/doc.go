// Package policy is step 3 of 9: it decides whether an agent may have a request.
//
// It takes an authenticated identity.Agent, a resolved scopes.Request and what the agent says of its task, asks the Cedar
// policies beside the catalog, and gives a Decision: allow, deny, or needs_approval with exactly what people would
// have to say. It trusts the agent and the request because only steps 1 and 2 can make them, and it trusts the
// policy files because they passed every check at load. It never touches a credential.
//
// Laws:
//
//  1. What no policy permits is denied, and a forbid beats every permit.
//  2. Any error of the engine is an error of the decision (ErrPolicy). Cedar skips a policy that errs, a forbid
//     too, so nothing is decided on what is left.
//  3. Text written for people (purpose, justification) is not a fact: no type here has a field for it.
//  4. More approvals never turn yes into no, and neither does a shorter life. Load refuses a policy that could:
//     approvals and ttl are only ever compared with a literal number, in the direction that keeps this true.
//  5. What would be needed is found by asking the same engine the same question with other approvals. Because of
//     law 4 the numbers written in the policies are the only ones worth asking about, so the answer is exact.
//  6. The floor is a policy like the others: destructive and admin requests need two distinct approvers, whatever
//     the files say, unless the operator's config names another number.
//  7. Policies that do not validate strictly against the schema generated from the catalog, that carry no @id, or
//     whose @id comes twice, do not load. Load is all or nothing.
//  8. The same input gives the same Decision, reasons in the same order.
//  9. What an agent says of itself (context.claims) never turns a no into a yes, and brings neither fewer approvals nor a
//     longer life: saying nothing gets at least as much. Load refuses a policy in which it could; claims.go says how.
//     What a request's environment is vouched to be is a fact, and has a name of its own: context.environments.
//
// Decide is called again at mint with the approvals that exist then, and whatever was true before does not count.
package policy
