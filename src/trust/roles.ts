// The roles of people; what each may is access's business.
export const roles = ['admin', 'operator', 'approver', 'auditor', 'member'] as const;
export type Role = (typeof roles)[number];
