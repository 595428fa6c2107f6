package scopes

// ParamType says what a parameter's values look like and which characters they can hold.
type ParamType string

// The parameter types, as a catalog spells them.
const (
	TypeS3Bucket      ParamType = "s3_bucket"
	TypeS3Prefix      ParamType = "s3_prefix" // a folder: its canonical form ends with "/"
	TypeARN           ParamType = "arn"
	TypeRegion        ParamType = "region"
	TypeAccountID     ParamType = "account_id"
	TypeDynamoDBTable ParamType = "dynamodb_table"
	TypeIdentifier    ParamType = "identifier"
	TypeEnum          ParamType = "enum"
	TypePattern       ParamType = "pattern"
	TypeInteger       ParamType = "integer"
)

// Param describes one parameter. Every parameter of a scope is required.
type Param struct {
	Name        string
	Type        ParamType
	Description string
	Allowed     []string // canonical values, sorted; empty means any value of the type
	List        bool     // whether it takes several values, at most MaxValues
	Pattern     string   // for TypePattern: an RE2 expression that the whole value matches
	Min, Max    int64    // for TypeInteger: the range, both ends included
}
